import { native } from "@spo/native";
import type { Tensor } from "./tensor.js";

/** `never` for a promise: a scope may not be open while other code runs. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

let current: Scope | undefined;

// Handles on their way out, so that a whole scope is freed by one native call.
let dying = new Uint32Array(256);

// The safety net for tensors of no scope. Frees the handle when the garbage collector finds the Tensor unreachable.
const registry = new FinalizationRegistry<{ handle: number; bytes: number }>(({ handle, bytes }) => {
  native.releaseOne(handle);
  native.adjustMemory(-bytes);
});

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
    return memory.keep(fn()) as T;
  } finally {
    memory.close();
  }
}

/** Takes tensors out of every scope: they live until disposed of or collected. For weights, optimizer states and caches. */
export function keep<T>(value: T): T {
  forEachTensor(value, (tensor) => {
    if (tensor.owner) own(tensor, undefined);
  });
  return value;
}

/** Number of tensors that are alive. A training step leaves it as it was. */
export const liveTensors = (): number => native.liveHandles();

/** @internal Gives a new tensor to the open scope, or to the garbage collector. */
export function adopt(tensor: Tensor): void {
  own(tensor, current);
}

/** @internal The tensor was disposed of by hand. */
export function disown(tensor: Tensor): void {
  if (!tensor.owner && tensor.netted) {
    registry.unregister(tensor);
    native.adjustMemory(-tensor.netted);
    tensor.netted = 0;
  }
  tensor.owner = undefined;
}

function own(tensor: Tensor, scope: Scope | undefined): void {
  tensor.owner = scope;
  if (scope) {
    scope.add(tensor);
  } else {
    tensor.netted = tensor.device === "meta" ? 1 : Math.max(1, tensor.nbytes); // shapes alone press on no memory
    native.adjustMemory(tensor.netted);
    registry.register(tensor, { handle: tensor.handle, bytes: tensor.netted }, tensor);
  }
}

function forEachTensor(value: unknown, visit: (tensor: Tensor) => void): void {
  if (typeof value !== "object" || value === null) return;
  if (isTensor(value)) visit(value);
  else if (Array.isArray(value)) for (const element of value) forEachTensor(element, visit);
  else if (value instanceof Map) for (const element of value.values()) forEachTensor(element, visit);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const element of Object.values(value)) forEachTensor(element, visit);
  }
}

const isTensor = (value: object): value is Tensor => "handle" in value && "owner" in value;
