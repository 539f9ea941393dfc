import { native } from "@spo/native";
import { elementSizeOfCode } from "./dtype.js";
import { isTensor } from "./handle.js";
import type { Tensor } from "./tensor.js";

/** `never` for a promise: a scope may not be open while other code runs. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

let current: Scope | undefined;

// Handles to be freed: one native call frees a whole scope.
let dying = new Uint32Array(256);

/** A tensor of no scope, as the garbage collector knows it. */
export interface Unowned {
  handle: number;
  /** Reported to the garbage collector. */
  bytes: number;
  /** It was not passed to `keep`. */
  stray: boolean;
}

// The safety net for tensors of no scope. Frees the handle when the garbage collector finds the Tensor unreachable.
const registry = new FinalizationRegistry<Unowned>((unowned) => {
  native.releaseOne(unowned.handle);
  native.adjustMemory(-unowned.bytes);
  claim(unowned);
});

/** So many stray tensors at once are warned of: far above what a program holds on purpose. */
export const MOST_STRAY = 10_000;
let strays = 0;
let warned = false;

/**
 * Owns the tensors made while it is open, and frees them when it closes.
 *
 *     using memory = new Scope();
 *     const loss = …;            // dies with `memory`
 *     memory.keep(weights);      // moves to the enclosing scope
 *
 * Scopes close in the opposite order of opening; anything else throws. Never hold one open over an `await` or a `yield`.
 */
export class Scope {
  readonly #parent: Scope | undefined = current;
  readonly #tensors: Tensor[] = [];
  #closed = false;

  constructor() {
    current = this;
  }

  /** @internal */
  add(tensor: Tensor): void {
    this.#tensors.push(tensor);
  }

  /** Moves tensors (also in arrays, Maps and plain objects) to the enclosing scope, and gives the value back. */
  keep<T>(value: T): T {
    forEachTensor(value, (tensor) => {
      if (tensor.owner === this) own(tensor, this.#parent);
    });
    return value;
  }

  close(): void {
    if (this.#closed) return;
    if (current !== this) {
      throw new Error(
        "A scope was closed before one opened inside it. Is there an `await` or `yield` in a scope?",
      );
    }
    this.#closed = true;
    current = this.#parent;
    if (dying.length < this.#tensors.length) dying = new Uint32Array(this.#tensors.length * 2);
    let count = 0;
    for (const tensor of this.#tensors) {
      if (tensor.owner !== this || tensor.handle === 0) continue;
      dying[count++] = tensor.handle;
      tensor.handle = 0;
      tensor.owner = undefined;
    }
    native.release(dying, count);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Runs `fn`; tensors that it makes die at its end, unless it returns them (alone, or in arrays, Maps and plain objects): those move to
 * the enclosing scope. An exception frees all.
 */
export function scope<T>(fn: () => Sync<T>): T {
  const memory = new Scope();
  try {
    return memory.keep(notAPromise(fn(), "scope")) as T;
  } finally {
    memory.close();
  }
}

/**
 * @internal The result of a function. Throws for a promise: the rest of an async function would run after what `where` sets up has ended.
 */
export function notAPromise<T>(result: T, where: string): T {
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== "function") return result;
  // The promise may fail because of this error, on a disposed tensor for example, and would then end the process.
  (result as unknown as PromiseLike<unknown>).then(undefined, () => {});
  throw new TypeError(
    `${where} was given an async function, or one that gives a promise. It lasts only until its function returns: do the waiting before it or after it.`,
  );
}

/** Takes tensors out of every scope: they live until disposed of or collected. For weights, optimizer states and caches. */
export function keep<T>(value: T): T {
  forEachTensor(value, (tensor) => {
    if (tensor.owner) own(tensor, undefined);
    if (tensor.unowned) claim(tensor.unowned);
  });
  return value;
}

/** Marks a tensor as kept. */
function claim(unowned: Unowned): void {
  if (unowned.stray) strays--;
  unowned.stray = false;
}

/** Number of tensors that are alive. A training step leaves it as it was. */
export const liveTensors = (): number => native.liveHandles();

/** @internal Gives a new tensor to the open scope, or to the garbage collector. */
export function adopt(tensor: Tensor): void {
  own(tensor, current);
  if (!tensor.unowned) return;
  tensor.unowned.stray = true;
  if (++strays < MOST_STRAY || warned) return;
  warned = true;
  process.emitWarning(
    `${MOST_STRAY} tensors are alive that belong to no scope, and only the garbage collector frees them, late. Put the work that makes them into scope(() => …); give those that are to live on to keep(…).`,
    { code: "SPO_STRAY_TENSORS" },
  );
}

/** @internal The tensor was disposed of by hand. */
export function disown(tensor: Tensor): void {
  const { unowned } = tensor;
  if (unowned) {
    registry.unregister(tensor);
    native.adjustMemory(-unowned.bytes);
    claim(unowned);
  }
  tensor.unowned = undefined;
  tensor.owner = undefined;
}

function own(tensor: Tensor, scope: Scope | undefined): void {
  tensor.owner = scope;
  if (scope) {
    scope.add(tensor);
    return;
  }
  // A tensor on `meta` holds no memory.
  const bytes =
    tensor.device === "meta" ? 1 : Math.max(1, tensor.numel * elementSizeOfCode(native.dtype(tensor.handle)));
  native.adjustMemory(bytes);
  tensor.unowned = { handle: tensor.handle, bytes, stray: false };
  registry.register(tensor, tensor.unowned, tensor);
}

/** Calls `visit` for each tensor in plain objects, lists and maps, however deep. */
export function forEachTensor(value: unknown, visit: (tensor: Tensor) => void): void {
  if (typeof value !== "object" || value === null) return;
  if (isTensor(value)) visit(value);
  else if (Array.isArray(value)) for (const element of value) forEachTensor(element, visit);
  else if (value instanceof Map) for (const element of value.values()) forEachTensor(element, visit);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const element of Object.values(value)) forEachTensor(element, visit);
  }
}
