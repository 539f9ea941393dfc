import { spawnSync } from "node:child_process";
import fs, {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  amount,
  appendLine,
  asUserError,
  makeFolder,
  makeFolderToFill,
  placeFolder,
  removeLeftovers,
  renameDurably,
  requirePlace,
  shortageOf,
  syncFile,
  temporaryOf,
  UserError,
  writeFileAtomic,
} from "./files.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "files-"));
  path = join(folder, "deep", "down", "x.bin");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("writeFileAtomic", () => {
  test("writes text, bytes and chunks, and makes the folder", () => {
    writeFileAtomic(path, "grüße");
    expect(readFileSync(path, "utf8")).toBe("grüße");
    writeFileAtomic(path, Uint8Array.of(1, 2));
    expect([...readFileSync(path)]).toEqual([1, 2]);
    writeFileAtomic(path, [Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)]);
    expect([...readFileSync(path)]).toEqual([3, 4, 5]);
    expect(readdirSync(join(folder, "deep", "down"))).toEqual(["x.bin"]);
  });

  test.each(["ENOSPC", "EIO", "EDQUOT", "EACCES", "EROFS"])(
    "leaves the old file whole when the system refuses with %s, at whatever call",
    (code) => {
      writeFileAtomic(path, "old");
      let [calls, total] = [0, 1];
      for (let failing = 0; failing <= total; failing++) {
        calls = 0;
        const heal = sabotage(() => ++calls === failing, code);
        let thrown: unknown;
        try {
          writeFileAtomic(path, [Buffer.from("new"), Buffer.from("er")]);
        } catch (error) {
          thrown = error;
        } finally {
          heal();
        }
        if (failing === 0) {
          total = calls;
          writeFileAtomic(path, "old");
          continue;
        }
        expect(thrown).toBeInstanceOf(UserError);
        expect((thrown as UserError).code).toBe("RESOURCE");
        expect((thrown as UserError).message).toContain(join(folder, "deep", "down"));
        expect((thrown as UserError).cause).toMatchObject({ code });
        expect(["old", "newer"]).toContain(readFileSync(path, "utf8"));
        expect(readdirSync(join(folder, "deep", "down"))).toEqual(["x.bin"]);
        writeFileAtomic(path, "old");
      }
      expect(total).toBeGreaterThanOrEqual(7); // open, two writes, sync, rename, and the folder's open and sync
    },
  );

  test("leaves the old file whole when what it writes cannot be made", () => {
    writeFileAtomic(path, "old");
    const broken = (function* () {
      yield Buffer.from("half");
      throw new TypeError("no more");
    })();
    expect(() => writeFileAtomic(path, broken)).toThrow(new TypeError("no more"));
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(join(folder, "deep", "down"))).toEqual(["x.bin"]);
  });

  test("goes on after short writes", () => {
    const { writeSync } = fs;
    Object.assign(fs, {
      writeSync: (file: number, data: Uint8Array, at: number) => writeSync(file, data, at, 1),
    });
    syncBuiltinESMExports();
    try {
      writeFileAtomic(path, "in many pieces");
    } finally {
      Object.assign(fs, { writeSync });
      syncBuiltinESMExports();
    }
    expect(readFileSync(path, "utf8")).toBe("in many pieces");
  });

  test("says that a folder stands in the way, or a file where a folder should be", () => {
    expect(() => writeFileAtomic(folder, "x")).toThrow(`${folder} was not written`);
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => writeFileAtomic(join(file, "x"), "x")).toThrow("a part of its path is a file, not a folder");
  });

  test.skipIf(!existsSync("/dev/full"))("tells a full disk, and what to do about it", () => {
    symlinkSync("/dev/full", join(folder, "full"));
    const { code, message, hint } = asUserError(
      caught(() => fs.writeFileSync(join(folder, "full"), "x")),
      path,
    ) as UserError;
    expect(code).toBe("RESOURCE");
    expect(message).toBe(`The disk is full: ${path} was not written. What stood there before is untouched.`);
    expect(hint).toContain("Free some space");
  });
});

describe("appendLine", () => {
  test("adds whole lines and makes the file", () => {
    const log = join(folder, "log");
    appendLine(log, "one");
    appendLine(log, "zwei ü");
    expect(readFileSync(log, "utf8")).toBe("one\nzwei ü\n");
  });

  test("names the file that it cannot write", () => {
    expect(() => appendLine(path, "x")).toThrow(UserError);
    expect(() => appendLine(path, "x")).toThrow(path);
  });
});

describe("makeFolder and renameDurably", () => {
  test("make folders above, and give a file or folder its name", () => {
    makeFolder(join(folder, "a", "b"));
    makeFolder(join(folder, "a", "b"));
    writeFileSync(join(folder, "a", "b", "x"), "1");
    renameDurably(join(folder, "a"), join(folder, "c"));
    expect(readFileSync(join(folder, "c", "b", "x"), "utf8")).toBe("1");
  });

  test("name what they cannot make", () => {
    writeFileSync(join(folder, "file"), "");
    expect(() => makeFolder(join(folder, "file", "x"))).toThrow(join(folder, "file", "x"));
    expect(() => renameDurably(join(folder, "nowhere"), join(folder, "c"))).toThrow(UserError);
    expect(() => syncFile(join(folder, "nowhere"))).toThrow(UserError);
  });
});

// Node's own recursive mkdir never comes back from there.
test.skipIf(!existsSync("/proc/self"))("where the system makes no folder, it is said at once", () => {
  expect(() => makeFolder("/proc/no/folder")).toThrow(
    "/proc/no/folder was not written: no folder can be made there.",
  );
  expect(() => writeFileAtomic("/proc/no/folder/x", "x")).toThrow("no folder can be made there");
});

describe("requirePlace", () => {
  test("agrees with places that are there or can be made, and makes nothing", () => {
    requirePlace(folder, "folder");
    requirePlace(path, "folder");
    requirePlace(path, "file");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("refuses a file where a folder should be, the other way round, and what lies below a file", () => {
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => requirePlace(file, "folder")).toThrow("a part of its path is a file, not a folder");
    expect(() => requirePlace(join(file, "x"), "file")).toThrow("a part of its path is a file, not a folder");
    expect(() => requirePlace(folder, "file")).toThrow(`${folder} was not written: it is a folder.`);
    requirePlace(file, "file"); // which would be replaced
  });

  test.each(["EACCES", "EROFS"])("refuses where the system does, with %s", (code) => {
    const { accessSync } = fs;
    Object.assign(fs, {
      accessSync: () => {
        throw Object.assign(new Error(code), { code, syscall: "access" });
      },
    });
    syncBuiltinESMExports();
    try {
      expect(() => requirePlace(path, "folder")).toThrow(UserError);
    } finally {
      Object.assign(fs, { accessSync });
      syncBuiltinESMExports();
    }
  });
});

test("makeFolderToFill takes away again what it made and nobody filled", () => {
  {
    using _ = makeFolderToFill(join(folder, "a", "b"));
    expect(existsSync(join(folder, "a", "b"))).toBe(true);
  }
  expect(readdirSync(folder)).toEqual([]);
  {
    using _ = makeFolderToFill(join(folder, "a", "b"));
    writeFileSync(join(folder, "a", "x"), "");
  }
  expect(readdirSync(join(folder, "a"))).toEqual(["x"]);
});

test("removeLeftovers takes away what dead processes left of this path, and nothing else", () => {
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const kept = [`x.bin.${process.pid}.tmp`, `xybin.${dead}.tmp`, `x.bin.${dead}.tmp.txt`, "x.bin"];
  for (const name of kept) writeFileSync(join(folder, name), "");
  mkdirSync(join(folder, `x.bin.${dead}.tmp`, "within"), { recursive: true });
  removeLeftovers(join(folder, "x.bin"));
  expect(readdirSync(folder).sort()).toEqual(kept.sort());
  removeLeftovers(join(folder, "nowhere", "x.bin"));
});

test("a folder is made beside its place, also where that ends in a slash", () => {
  expect(temporaryOf(`${folder}/out/`)).toBe(temporaryOf(join(folder, "out")));
  expect(temporaryOf(join(folder, "out"))).toMatch(/\/out\.\d+-\d+-[0-9a-f]{8}\.tmp$/);
});

test("a name as long as the system allows can be written", () => {
  for (const letter of ["x", "ü", "猫"]) {
    const long = join(folder, letter.repeat(255 / Buffer.byteLength(letter)));
    writeFileAtomic(long, "whole");
    expect(readFileSync(long, "utf8")).toBe("whole");
  }
});

describe("what a killed process left in a folder", () => {
  /** A temporary as the process of that number makes it. */
  const left = (name: string, pid: number): string =>
    basename(temporaryOf(name)).replace(`.${process.pid}-`, `.${pid}-`);
  const dead = (): number => spawnSync("true").pid;

  test("is taken away by the first write there, whatever it was to be; files of living processes and of users stay", () => {
    const gone = [left("model.safetensors", dead()), left("00001-5.png", dead())];
    const kept = [
      left("mine.bin", process.pid),
      left("another.bin", 1).replace(/-\d+-/, `-${startOf(1)}-`),
      "x.bin.1234.tmp",
      "notes.tmp",
      "draft.12-34-zz.tmp",
      `report.${dead()}-1-0123456x.tmp`,
    ];
    for (const name of [...gone, ...kept]) writeFileSync(join(folder, name), "");
    mkdirSync(join(folder, left("set", dead()), "within"), { recursive: true });
    writeFileAtomic(join(folder, "x.bin"), "new");
    expect(readdirSync(folder).sort()).toEqual(["x.bin", ...kept].sort());
  });

  test("of another machine is left alone while it may be at work, and taken away after a week", () => {
    const foreign = `x.bin.${dead()}-1-0123abcd.tmp`;
    writeFileSync(join(folder, foreign), "");
    removeLeftovers(join(folder, "y.bin"));
    expect(readdirSync(folder)).toEqual([foreign]);
    const old = new Date(Date.now() - 8 * 24 * 3600 * 1000);
    utimesSync(join(folder, foreign), old, old);
    removeLeftovers(join(folder, "y.bin"));
    expect(readdirSync(folder)).toEqual([]);
  });

  const startOf = (pid: number): string =>
    readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[19] ?? "0";
});

describe("placeFolder", () => {
  const fill = (name: string, text = "1"): string => {
    mkdirSync(join(folder, name, "within"), { recursive: true });
    writeFileSync(join(folder, name, "within", "x"), text);
    return join(folder, name);
  };

  test("gives a whole folder its name, also where an empty one stands", () => {
    mkdirSync(join(folder, "out"));
    placeFolder(fill("made"), join(folder, "out"));
    expect(readFileSync(join(folder, "out", "within", "x"), "utf8")).toBe("1");
  });

  test("takes what an earlier call has written to the end for its own, and refuses all else", () => {
    fill("out");
    placeFolder(fill("made"), join(folder, "out"));
    expect(readdirSync(folder)).toEqual(["out"]);
    expect(() => placeFolder(fill("made", "2"), join(folder, "out"))).toThrow(/is not empty/);
    expect(() => placeFolder(fill("made", "22"), join(folder, "out"))).toThrow(/is not empty/);
    rmSync(join(folder, "made", "within", "x"));
    expect(() => placeFolder(join(folder, "made"), join(folder, "out"))).toThrow(/is not empty/);
    expect(readFileSync(join(folder, "out", "within", "x"), "utf8")).toBe("1");
  });
});

test.each([
  [0, "0 bytes"],
  [1, "1 byte"],
  [999, "999 bytes"],
  [12_345, "12.3 kB"],
  [999_999, "1 MB"],
  [1_234_567, "1.23 MB"],
  [5_132_000_000, "5.13 GB"],
  [2e15, "2000 TB"],
])("%i bytes are %s", (bytes, text) => expect(amount(bytes)).toBe(text));

describe("shortageOf", () => {
  const fault = (message: string, code?: string): Error => Object.assign(new Error(message), { code });
  test.each([
    ["EMFILE: too many open files, open 'x'", "EMFILE"],
    ["libgomp.so.1: cannot open shared object file: Too many open files", "ERR_DLOPEN_FAILED"],
    ["libtorch_cpu.so: failed to map segment from shared object", "ERR_DLOPEN_FAILED"],
    ["WebAssembly.Instance(): Out of memory: Cannot allocate Wasm memory for new instance", undefined],
    ["Worker terminated due to reaching memory limit", "ERR_WORKER_OUT_OF_MEMORY"],
    ["Array buffer allocation failed", undefined],
    ["[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", undefined],
  ])("%s is the machine's, also as the cause of another fault", (message, code) => {
    for (const error of [fault(message, code), new Error("sharp", { cause: fault(message, code) })])
      expect(shortageOf(error)).toMatchObject({ code: "RESOURCE", hint: expect.stringContaining("ulimit") });
  });

  test("anything else is not", () => {
    expect(shortageOf(fault("x is undefined"))).toBeUndefined();
    expect(shortageOf(fault("ENOENT: no such file", "ENOENT"))).toBeUndefined();
    expect(shortageOf(fault("Cannot find module 'x'", "ERR_MODULE_NOT_FOUND"))).toBeUndefined();
    expect(shortageOf("a word")).toBeUndefined();
  });
});

describe("asUserError", () => {
  test("leaves what is no fault of the file system as it is", () => {
    const bug = new TypeError("a bug");
    expect(asUserError(bug, path)).toBe(bug);
  });

  test("says in words why a place cannot be written", () => {
    const secret = join(folder, "secret");
    writeFileSync(secret, "");
    chmodSync(secret, 0o400);
    const denied = Object.assign(new Error("EACCES: permission denied"), { code: "EACCES", syscall: "open" });
    expect((asUserError(denied, secret) as UserError).message).toBe(
      `${secret} was not written: you may not write there.`,
    );
  });
});

function caught(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("it did not throw");
}

/** Makes the calls that write fail where `isDue` says so. */
function sabotage(isDue: () => boolean, code: string): () => void {
  const names = ["openSync", "writeSync", "fsyncSync", "renameSync", "mkdirSync"] as const;
  const originals = names.map((name) => [name, fs[name]] as const);
  for (const [name, original] of originals) {
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        if (isDue()) throw Object.assign(new Error(`${code}: no luck, ${name}`), { code, syscall: name });
        return (original as (...args: unknown[]) => unknown)(...args);
      },
    });
  }
  syncBuiltinESMExports();
  return () => {
    Object.assign(fs, Object.fromEntries(originals));
    syncBuiltinESMExports();
  };
}
