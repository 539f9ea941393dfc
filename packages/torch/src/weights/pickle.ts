// Reads Python pickles as data. Nothing is imported or run: a global is a name that the caller knows or refuses.

/** What a pickle can hold here. Lists are arrays, tuples and sets frozen arrays, dicts Maps. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleObject
  | readonly PickleValue[]
  | Map<PickleValue, PickleValue>;

/** A value that the caller defines. */
export abstract class PickleObject {
  /** For a class or function: what calling it with these arguments gives. Absent: it cannot be called. */
  call?(args: readonly PickleValue[]): PickleValue;
  /** Whether contents that a pickle adds to it, as to a list or a dict, are dropped. */
  readonly dropsContents?: boolean;
}

export interface PickleHost {
  /** The meaning of `module.name`. Throws for one that it does not know. */
  global(module: string, name: string): PickleValue;
  /** The meaning of a persistent id. */
  persistent(id: PickleValue): PickleValue;
  /** Throws: the pickle is damaged, or uses what is not supported. */
  bad(why: string): never;
}

// Far above what a checkpoint of ten thousand tensors needs, and low enough that no pickle can fill the memory.
const MAX_STEPS = 4_000_000;
const MAX_OBJECTS = 500_000;
const MAX_INTEGER_BYTES = 1024;
/** Elements of a list that a call may read without counting as objects: two bytes can pass the same long list again. */
const MAX_FREE_ELEMENTS = 64;

const NOTHING: readonly PickleValue[] = Object.freeze([]);

/**
 * The value of the pickle that starts at `start`, and where it ends.
 *
 * Protocols 2 to 5, as far as torch.save uses them. Source: Python's pickletools, the list of opcodes.
 */
export function readPickle(
  bytes: Uint8Array,
  host: PickleHost,
  start = 0,
): { value: PickleValue; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: PickleValue[] = [];
  const marks: number[] = [];
  const memo = new Map<number, PickleValue>();
  let at = start;
  let objects = 0;

  /** Offset of the next `length` bytes; moves on past them. */
  const take = (length: number): number => {
    if (!(length <= bytes.length - at)) host.bad("its pickle is cut short");
    at += length;
    return at - length;
  };
  const uint8 = (): number => bytes[take(1)] as number;
  const uint32 = (): number => view.getUint32(take(4), true);
  const uint64 = (): number => Number(view.getBigUint64(take(8), true));
  const raw = (length: number): Uint8Array => bytes.slice(take(length), at);
  const top = (): PickleValue => {
    if (stack.length <= (marks.at(-1) ?? 0)) host.bad("its pickle is damaged");
    return stack.at(-1) as PickleValue;
  };
  const pop = (): PickleValue => {
    const value = top();
    stack.pop();
    return value;
  };
  const popMark = (): PickleValue[] => {
    const mark = marks.pop();
    if (mark === undefined) return host.bad("its pickle is damaged");
    return stack.splice(mark);
  };
  const charge = (count: number): void => {
    objects += count;
    if (objects > MAX_OBJECTS) host.bad(`its pickle makes more than ${MAX_OBJECTS} objects`);
  };
  const make = <T extends PickleValue>(value: T): void => {
    charge(1);
    stack.push(value);
  };
  const line = (): string => {
    const end = bytes.indexOf(10, at);
    if (end < 0) host.bad("its pickle is cut short");
    return utf8(bytes, take(end + 1 - at), end, host);
  };
  const text = (length: number): string => {
    const from = take(length);
    return utf8(bytes, from, from + length, host);
  };
  const integer = (length: number): number | bigint => {
    if (length > MAX_INTEGER_BYTES) host.bad(`its pickle has an integer of ${length} bytes`);
    return littleEndian(bytes, take(length), length);
  };
  const call = (callee: PickleValue, args: PickleValue): PickleValue => {
    if (!(callee instanceof PickleObject) || !callee.call || !Array.isArray(args))
      return host.bad("its pickle calls what cannot be called");
    for (const given of [args, ...args.slice(0, MAX_FREE_ELEMENTS)])
      if (Array.isArray(given) && given.length > MAX_FREE_ELEMENTS) charge(given.length);
    return callee.call(args);
  };
  const drops = (value: PickleValue): boolean =>
    value instanceof PickleObject && value.dropsContents === true;
  const append = (list: PickleValue, values: readonly PickleValue[]): void => {
    if (drops(list)) return;
    if (!Array.isArray(list) || Object.isFrozen(list)) host.bad("its pickle appends to what is no list");
    for (const value of values) (list as PickleValue[]).push(value);
  };
  const setItems = (dict: PickleValue, pairs: readonly PickleValue[]): void => {
    if (drops(dict)) return;
    if (!(dict instanceof Map) || pairs.length % 2 !== 0) host.bad("its pickle is damaged");
    else
      for (let i = 0; i < pairs.length; i += 2)
        dict.set(pairs[i] as PickleValue, pairs[i + 1] as PickleValue);
  };
  const recall = (index: number): void => {
    const value = memo.get(index);
    if (value === undefined) host.bad("its pickle is damaged");
    else stack.push(value);
  };

  for (let steps = 0; ; steps++) {
    if (steps > MAX_STEPS) host.bad(`its pickle has more than ${MAX_STEPS} steps`);
    const opcode = String.fromCharCode(uint8());
    switch (opcode) {
      case "\x80": // PROTO
        if (uint8() > 5) host.bad("its pickle has a protocol above 5");
        break;
      case "\x95": // FRAME
        take(8);
        break;
      case ".": // STOP
        if (stack.length !== 1 || marks.length > 0) host.bad("its pickle is damaged");
        return { value: stack[0] as PickleValue, end: at };

      case "N":
        stack.push(null);
        break;
      case "\x88":
        stack.push(true);
        break;
      case "\x89":
        stack.push(false);
        break;
      case "K": // BININT1
        stack.push(uint8());
        break;
      case "M": // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case "J": // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case "\x8a": // LONG1
        make(integer(uint8()));
        break;
      case "\x8b": // LONG4
        make(integer(uint32()));
        break;
      case "G": // BINFLOAT
        make(view.getFloat64(take(8)));
        break;

      case "X": // BINUNICODE
        make(text(uint32()));
        break;
      case "\x8c": // SHORT_BINUNICODE
        make(text(uint8()));
        break;
      case "\x8d": // BINUNICODE8
        make(text(uint64()));
        break;
      case "U": // SHORT_BINSTRING, from Python 2
        make(latin1(raw(uint8())));
        break;
      case "T": // BINSTRING, from Python 2
        make(latin1(raw(uint32())));
        break;
      case "C": // SHORT_BINBYTES
        make(raw(uint8()));
        break;
      case "B": // BINBYTES
        make(raw(uint32()));
        break;
      case "\x8e": // BINBYTES8
      case "\x96": // BYTEARRAY8
        make(raw(uint64()));
        break;

      case "]": // EMPTY_LIST
        make([]);
        break;
      case "}": // EMPTY_DICT
        make(new Map());
        break;
      case ")": // EMPTY_TUPLE
        stack.push(NOTHING);
        break;
      case "\x8f": // EMPTY_SET
        make([]);
        break;
      case "(": // MARK
        marks.push(stack.length);
        break;
      case "t": // TUPLE
        make(Object.freeze(popMark()));
        break;
      case "\x85":
        make(Object.freeze([pop()]));
        break;
      case "\x86": {
        const second = pop();
        make(Object.freeze([pop(), second]));
        break;
      }
      case "\x87": {
        const third = pop();
        const second = pop();
        make(Object.freeze([pop(), second, third]));
        break;
      }
      case "\x91": // FROZENSET
        make(Object.freeze(popMark()));
        break;
      case "l": // LIST
        make(popMark());
        break;
      case "d": {
        // DICT
        const pairs = popMark();
        const dict = new Map<PickleValue, PickleValue>();
        setItems(dict, pairs);
        make(dict);
        break;
      }
      case "a": {
        // APPEND
        const value = pop();
        append(top(), [value]);
        break;
      }
      case "e": // APPENDS
      case "\x90": {
        // ADDITEMS
        const values = popMark();
        append(top(), values);
        break;
      }
      case "s": {
        // SETITEM
        const value = pop();
        const key = pop();
        setItems(top(), [key, value]);
        break;
      }
      case "u": {
        // SETITEMS
        const pairs = popMark();
        setItems(top(), pairs);
        break;
      }

      case "0": // POP
        if (stack.length === marks.at(-1)) marks.pop();
        else pop();
        break;
      case "1": // POP_MARK
        popMark();
        break;
      case "2": // DUP
        stack.push(top());
        break;
      case "q": // BINPUT
        memo.set(uint8(), top());
        break;
      case "r": // LONG_BINPUT
        memo.set(uint32(), top());
        break;
      case "\x94": // MEMOIZE
        memo.set(memo.size, top());
        break;
      case "h": // BINGET
        recall(uint8());
        break;
      case "j": // LONG_BINGET
        recall(uint32());
        break;

      case "c": {
        // GLOBAL
        const module = line();
        make(host.global(module, line()));
        break;
      }
      case "\x93": {
        // STACK_GLOBAL
        const name = pop();
        const module = pop();
        if (typeof name !== "string" || typeof module !== "string") host.bad("its pickle is damaged");
        make(host.global(module as string, name as string));
        break;
      }
      case "Q": // BINPERSID
        make(host.persistent(pop()));
        break;
      case "R": // REDUCE
      case "\x81": {
        // NEWOBJ
        const args = pop();
        make(call(pop(), args));
        break;
      }
      case "\x92": {
        // NEWOBJ_EX: with named arguments, which only opaque objects have
        pop();
        const args = pop();
        make(call(pop(), args));
        break;
      }
      case "b": {
        // BUILD sets attributes. Those of dicts and of the caller's objects hold no weights (`_metadata` of a state dict).
        pop();
        const target = top();
        if (!(target instanceof Map) && !(target instanceof PickleObject))
          host.bad("its pickle sets attributes of what has none");
        break;
      }
      default:
        host.bad(
          `its pickle has the opcode 0x${opcode.charCodeAt(0).toString(16)}, which weights do not need`,
        );
    }
  }
}

function utf8(bytes: Uint8Array, from: number, to: number, host: PickleHost): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(from, to));
  } catch {
    return host.bad("a text in its pickle is not UTF-8");
  }
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** Two's complement, little-endian: a number where it is exact. */
function littleEndian(bytes: Uint8Array, from: number, length: number): number | bigint {
  let value = 0n;
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i] as number);
  if (length > 0 && ((bytes[from + length - 1] as number) & 0x80) !== 0) value -= 1n << BigInt(8 * length);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
