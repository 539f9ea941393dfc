// Which classes and functions of a pickle belong to a training's records. Their objects are passed over; none is ever looked up or run.

/** Functions, and classes with lower-case names, that occur in training states and make no part of a weight. */
const OPAQUE = new Set([
  "_codecs.encode",
  "copy_reg._reconstructor",
  "copyreg._reconstructor",
  "copyreg.__newobj__",
  "datetime.date",
  "datetime.datetime",
  "datetime.time",
  "datetime.timedelta",
  "datetime.timezone",
  "collections.deque",
  "functools.partial",
  "torch.device",
  "torch.memory_format",
  "torch.layout",
  "torch.strided",
  "torch.channels_last",
  "torch.contiguous_format",
  "torch.preserve_format",
  "torch.serialization._get_layout",
  ...["complex32", "complex64", "complex128", "quint8", "qint8", "qint32", "uint16", "uint32", "uint64"].map(
    (name) => `torch.${name}`,
  ),
  "torch._utils._rebuild_qtensor",
  "torch._utils._rebuild_sparse_tensor",
  "torch._utils._rebuild_device_tensor_from_numpy",
  "torch._utils._rebuild_meta_tensor_no_storage",
  ...["core", "_core"].flatMap((core) =>
    ["_reconstruct", "scalar", "_frombuffer"].flatMap((name) => [
      `numpy.${core}.multiarray.${name}`,
      `numpy.${core}.numeric.${name}`,
    ]),
  ),
  "numpy.ndarray",
  "numpy.dtype",
  ...["builtins", "__builtin__"].flatMap((module) =>
    ["bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"]
      .concat(["range", "slice", "str", "tuple", "unicode", "xrange"])
      .map((name) => `${module}.${name}`),
  ),
]);

/** numpy's numbers, as `numpy.float64` or `numpy.bool_`, and its random states. */
const NUMPY = /^numpy\.(random(\.\w+)+|bool_?|u?int\d*_?|float\d*_?|longdouble|str_|bytes_|void)$/;

/** Classes of Python's own library and of torch that records are made of. */
const RECORDS =
  /^(argparse|collections|enum|pathlib|decimal|fractions|uuid|numpy\.dtypes|torch|torch\.optim|torch\.nn|torch\.torch_version|torch\.cuda\.amp|torch\.amp)(\.[A-Za-z_]\w*)*\.[A-Z]\w*$/;

/** A class, by Python's custom of capitals for classes and lower case for functions. */
const CLASS = /^(__main__|[A-Za-z]\w*)(\.[A-Za-z_]\w*)*\.[A-Z]\w*$/;

/**
 * Modules whose classes may do more than hold values: Python's own library (3.13, its public modules), its installers, and what has a rule
 * above.
 */
const NO_RECORDS = new Set(
  `abc aifc antigravity argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect builtins bz2
  cProfile calendar cgi cgitb chunk cmath cmd code codecs codeop collections colorsys compileall concurrent configparser
  contextlib contextvars copy copyreg crypt csv ctypes curses dataclasses datetime dbm decimal difflib dis distutils
  doctest email encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc
  genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib imghdr imp
  importlib inspect io ipaddress itertools json keyword lib2to3 linecache locale logging lzma mailbox mailcap marshal math
  mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath nturl2path numbers opcode operator
  optparse os ossaudiodev pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix posixpath pprint
  profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re readline reprlib resource
  rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket
  socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess
  sunau symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios textwrap this threading time timeit
  tkinter token tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest
  urllib uu uuid venv warnings wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport
  zlib zoneinfo
  distutils nt pip pkg_resources setuptools wheel commands numpy torch`.split(/\s+/),
);

/**
 * Whether objects of `module.name` are passed over: arrays and numbers of numpy, random states, and the settings and callbacks of trainers,
 * whatever their package. Anything else would do something when a pickle is loaded in Python, and is refused.
 */
export const isPassedOver = (path: string): boolean =>
  OPAQUE.has(path) ||
  NUMPY.test(path) ||
  RECORDS.test(path) ||
  (CLASS.test(path) && !NO_RECORDS.has(path.slice(0, path.indexOf("."))));
