/** A tensor in the engine's table; 0 is never one. */
export type Handle = number;
type Shape = readonly number[];

/** The addon's functions. All throw an Error with the operator, the shapes and the reason; none aborts the process. */
export interface Native {
  /** Index of an operator for `call`. Throws when libtorch has no such operator. */
  op(name: string, overload: string): number;
  /** Runs an operator. Arguments by its schema: handles, numbers, booleans, strings, arrays of them, null for None. */
  call(op: number, ...args: unknown[]): unknown;
  /** Every operator's schema as text. */
  schemas(): string[];

  release(handles: Uint32Array, count: number): void;
  releaseOne(handle: Handle): void;
  alias(handle: Handle): Handle;
  replace(handle: Handle, source: Handle): void;
  sizes(handle: Handle): number[];
  strides(handle: Handle): number[];
  dtype(handle: Handle): number;
  device(handle: Handle): string;
  requiresGrad(handle: Handle): boolean;
  isLeaf(handle: Handle): boolean;
  setRequiresGrad(handle: Handle, on: boolean): void;
  item(handle: Handle): number;

  fromBuffer(view: ArrayBufferView, dtype: number, shape: Shape, copy: boolean): Handle;
  copyOut(handle: Handle): ArrayBuffer;
  view(handle: Handle): ArrayBuffer;
  map(path: string): [mapping: number, size: number];
  unmap(mapping: number): void;
  fromMapping(mapping: number, offset: number, dtype: number, shape: Shape): Handle;

  /**
   * Calls fn(), and autograd saves no tensor of it. When backward needs them, it calls again(inputs) on this thread, with new handles on
   * the inputs. This must do the same work and return true; after false backward throws "the function of a checkpoint failed".
   */
  checkpoint(inputs: readonly Handle[], again: (inputs: readonly Handle[]) => boolean, fn: () => void): void;
  /** away: the engine runs on a thread of its own, as the nodes of a GPU do. */
  backward(
    roots: readonly Handle[],
    gradients: readonly Handle[] | null,
    retainGraph: boolean,
    away: boolean,
  ): void;
  grad(
    outputs: readonly Handle[],
    inputs: readonly Handle[],
    gradients: readonly Handle[] | null,
    retainGraph: boolean,
    createGraph: boolean,
  ): (Handle | null)[];
  gradOf(handle: Handle): Handle | null;
  setGrad(handle: Handle, gradient: Handle | null): void;
  setGradMode(on: boolean): boolean;
  pushInferenceMode(on: boolean): void;
  popInferenceMode(): void;
  setAutocast(device: string, enabled: boolean, dtype: number): [enabled: number, dtype: number];

  generator(seed: number | bigint, device: string): number;
  releaseGenerator(generator: number): void;
  generatorState(generator: number): Handle;
  setGeneratorState(generator: number, state: Handle): void;

  threads(count?: number): number;
  /** Which kernels of the addon's own are used from now on, "libtorch" for none; the best of the processor at most → those in use. */
  kernels(name?: "libtorch" | "plain" | "avx2" | "avx512"): string;
  /** Whose products of float32 matrices are used from now on → whose are in use. */
  products(name?: "mkl" | "onednn"): string;
  /** Whether operators are counted from now on → name, calls, CPU seconds of each, by turns, since the last call. */
  operatorTimes(on: boolean): (string | number)[];
  loadLibrary(path: string): void;
  liveHandles(): number;
  /**
   * Opens the book of the memory that tensors of the meta device would hold, or closes it and gives its entries, float64: a block and its
   * bytes, by turns. The block is negative where another thread did it (of autograd's), the bytes where the block was freed.
   */
  metaBook(open: true): undefined;
  metaBook(open: false): ArrayBuffer;
  adjustMemory(bytes: number): number;
  trimMemory(): void;
  /**
   * Answers the first SIGINT, SIGTERM or SIGHUP that JavaScript listens to with these words on stderr, at once. A second one, more than
   * 0.2 s later, ends the process. Both also work while JavaScript computes; it gets the first signal when its task is over.
   */
  answerSignals(words: string): void;

  /** Why this addon has no process groups, or null. The functions of store and group below are there only where it is null. */
  processGroupFault(): string | null;
  /**
   * Opens c10d's store of keys and texts; serves: this process holds it. All of a process's keys stand under the prefix. A thread of its
   * own does the waiting, here and below, one after the other. Rejects with libtorch's reason.
   */
  openStore(
    host: string,
    port: number,
    serves: boolean,
    milliseconds: number,
    prefix: string,
  ): Promise<undefined>;
  storeSet(key: string, text: string): Promise<undefined>;
  /** Undefined where there is no such key after so many milliseconds. */
  storeGet(key: string, milliseconds: number): Promise<string | undefined>;
  /** The sum that then stands there, as text. */
  storeAdd(key: string, number: number): Promise<string>;
  /**
   * Adds one there again and again while this process runs, also while it computes. Gives what another process puts under the watched key;
   * undefined when the group is closed. Rejects where the store is gone. Does not keep Node alive.
   */
  beat(key: string, milliseconds: number, watched: string): Promise<string | undefined>;
  /**
   * Connects all processes by gloo, over an interface, or the interface with an address; operators then know the group by its name. A
   * collective that takes longer than the milliseconds fails. Does not keep Node alive.
   */
  openGroup(
    name: string,
    rank: number,
    size: number,
    address: string,
    networkInterface: string | null,
    milliseconds: number,
  ): Promise<undefined>;
  /** Resolves when the collectives that write to a tensor are done. */
  waitTensor(handle: Handle): Promise<undefined>;
  /** After a fault that no other call will mend: what still waits for other processes no longer keeps this one alive. */
  abandonGroup(): void;
  /** Leaves the group and the store. */
  closeGroup(): Promise<undefined>;
  facts(): [torch: string, cpuCapability: string, backend: string];
}

export const native: Native;
