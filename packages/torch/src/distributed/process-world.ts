import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize, serialize } from "node:v8";
import { native } from "@spo/native";
import { loadNccl, type Nccl } from "@spo/native/nccl";
import type { Device } from "../dtype.js";
import { UserError } from "../errors.js";
import { noGrad } from "../modes.js";
import { scope } from "../scope.js";
import { Tensor, tensor } from "../tensor.js";
import type { ChosenBackend } from "./choose-backend.js";
import type { World } from "./world.js";

/** What the processes know of one of them. */
export interface Member {
  host: string;
  pid: number;
  address: string;
}

/** How a world is made. */
export interface ProcessWorldOptions {
  rank: number;
  size: number;
  localRank: number;
  /** Longest time that the processes wait for one another, ms. */
  timeout: number;
  /** Where the store is, for messages. */
  store: string;
}

/** Milliseconds between two signs of life, and in which a living process gives one. */
const BEAT = 500;
const SILENCE = 5 * BEAT;
/** Longest time for what the store answers at once, and for what the others are about to put there, ms. */
const AT_ONCE = 10_000;
/** Where the first process that sees a fault tells the others. */
const FAULT = "fault";

/** Several processes, over gloo: tensors that are not in the CPU's memory go through it, unless NCCL carries them. Made by `initWorld`. */
export class ProcessWorld implements World {
  /** The name by which operators know the process group. */
  static readonly GROUP = "spo";

  readonly rank: number;
  readonly size: number;
  readonly localRank: number;
  /** What `initWorld` has chosen. */
  backend: ChosenBackend = { name: "gloo" };
  readonly #timeout: number;
  /** Longest time for what the store answers at once, ms. */
  readonly #atOnce: number;
  readonly #store: string;
  #members: Member[] = [];
  #barriers = 0;
  #nccl: Nccl | undefined;
  /** That another process tells of a fault, or that the store is gone. */
  #alarm: UserError | undefined;
  /** Who waits for something that the alarm ends. A race with one lasting promise would keep every wait of a training. */
  readonly #waiting = new Set<(alarm: UserError) => void>();

  constructor({ rank, size, localRank, timeout, store }: ProcessWorldOptions) {
    this.rank = rank;
    this.size = size;
    this.localRank = localRank;
    this.#timeout = timeout;
    this.#atOnce = Math.min(AT_ONCE, timeout);
    this.#store = store;
  }

  /** Tells the others of this process and waits to be told of them. */
  async meet(me: Member): Promise<void> {
    native.beat(beatsOf(this.rank), BEAT, FAULT).then(
      (told) => told !== undefined && this.#ring(this.#fault(JSON.parse(told) as number[])), // undefined: closed
      (error: Error) => this.#ring(this.#storeLost(error)),
    );
    await this.#arrive("member", JSON.stringify(me), "the start");
    const told = await this.#asked(
      Promise.all(this.#ranks().map((r) => native.storeGet(`member/${r}`, AT_ONCE))),
    );
    this.#members = told.map((text) => JSON.parse(text ?? "") as Member);
  }

  /**
   * Connects the GPUs of all processes, each of its own; tensors of GPUs are then exchanged by NCCL. Throws a UserError (`ENVIRONMENT`)
   * with NCCL's reason.
   */
  async openNccl(device: Device): Promise<void> {
    const nccl = loadNccl();
    this.#nccl = nccl;
    try {
      await this.#watched(nccl.open(ProcessWorld.GROUP, Number(device.split(":")[1]), this.#timeout));
    } catch (error) {
      if (error instanceof UserError) throw this.#end(error);
      await this.#tellFault([this.rank]);
      throw this.#end(
        new UserError(
          `Rank ${this.rank} of ${this.size} does not connect to the others by NCCL: ${(error as Error).message.split("\n", 1)[0]}.`,
          {
            code: "ENVIRONMENT",
            hint: "NCCL_DEBUG=INFO tells what it tries; SPO_DISTRIBUTED_BACKEND=gloo goes over the CPU's memory.",
            cause: error,
          },
        ),
      );
    }
  }

  async allReduce(tensor: Tensor): Promise<void> {
    await this.#inPlace(tensor, "all_reduce_", "sum");
  }

  async allGather(of: Tensor): Promise<Tensor> {
    const { device } = of;
    const carried = this.#carrierOf(device);
    const input = scope(() => of.detach().to({ device: carried }).contiguous());
    const { handle } = input;
    const gathered = new Tensor(
      call("all_gather_into_tensor", [handle, this.size, ProcessWorld.GROUP]) as number,
    );
    await this.#done(gathered);
    input.dispose();
    if (carried === device) return gathered;
    const there = gathered.to({ device });
    gathered.dispose();
    return there;
  }

  async broadcast(tensor: Tensor, from = 0): Promise<void> {
    await this.#inPlace(tensor, "broadcast_", from);
  }

  async gather<T>(value: T): Promise<T[]> {
    const bytes = serialize(value);
    const lengths = [...new BigInt64Array(await this.#gatherBytes(lengthOf(bytes)))].map(Number);
    const most = Math.max(...lengths);
    const padded = new Uint8Array(most);
    padded.set(bytes);
    const all = Buffer.from(await this.#gatherBytes(padded));
    return lengths.map((length, r) => deserialize(all.subarray(r * most, r * most + length)) as T);
  }

  async barrier(what: string): Promise<void> {
    await this.#arrive(`barrier/${this.#barriers++}`, "here", what);
  }

  async close(): Promise<void> {
    await this.barrier("the end");
    // Rank 0 leaves last: the others have still to read that all are here.
    const others = this.#ranks().slice(1);
    await this.#asked(
      this.rank > 0
        ? native.storeSet(`left/${this.rank}`, "")
        : Promise.all(others.map((r) => native.storeGet(`left/${r}`, AT_ONCE))),
    );
    await this.#nccl?.close();
    await native.closeGroup();
  }

  /** The bytes of all ranks' arrays, of one length. */
  async #gatherBytes(array: BigInt64Array | Uint8Array): Promise<ArrayBuffer> {
    const mine = tensor(array);
    const all = await this.allGather(mine);
    const { buffer, byteOffset, byteLength } = all.toTypedArray();
    for (const each of [mine, all]) each.dispose();
    return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
  }

  /** A collective that writes to its tensor. */
  async #inPlace(of: Tensor, operator: string, how: string | number): Promise<void> {
    const device = this.#carrierOf(of.device);
    const isPlain = of.device === device && isContiguous(of);
    const staged = isPlain ? of : scope(() => of.detach().to({ device }).contiguous());
    noGrad(() => void call(operator, [staged.handle, how, ProcessWorld.GROUP]));
    await this.#done(staged);
    if (isPlain) return;
    noGrad(() => scope(() => void of.detach().copy_(staged)));
    staged.dispose();
  }

  /** Where tensors of a device are while they are exchanged. */
  #carrierOf(device: Device): Device {
    return this.#nccl && device.startsWith("cuda") ? device : "cpu";
  }

  /** What a collective writes is there. */
  async #done(of: Tensor): Promise<void> {
    try {
      if (of.device === "cpu") await this.#orAlarm(native.waitTensor(of.handle));
      else {
        // Puts the end of NCCL's work into the GPU's queue, and waits for nothing.
        native.releaseOne(call("wait_tensor", [of.handle]) as number);
        await this.#watched((this.#nccl as Nccl).done(this.#timeout));
      }
    } catch (error) {
      throw this.#end(error instanceof UserError ? error : await this.#failed(error as Error));
    }
  }

  /** What NCCL does. It waits for a process that is gone as for a slow one, so that signs of life are asked for meanwhile. */
  async #watched(work: Promise<undefined>): Promise<void> {
    const over = new AbortController();
    const watch = async (): Promise<never> => {
      for (;;) {
        await sleep(SILENCE, undefined, { signal: over.signal });
        const gone = await this.#silent();
        over.signal.throwIfAborted();
        if (gone.length > 0) throw await this.#tellFault(gone);
      }
    };
    try {
      await this.#orAlarm(Promise.race([work, watch()]));
    } finally {
      over.abort();
    }
  }

  /** What the store answers. patience: how long it may wait for others before it does, ms. Throws a UserError where it is gone. */
  async #asked<T>(answer: Promise<T>, patience = AT_ONCE): Promise<T> {
    const given = new AbortController();
    // A link that is down is no error to the system: it sends again for a quarter of an hour.
    const late = sleep(patience + this.#atOnce, undefined, { signal: given.signal }).then(() => {
      throw new Error("it does not answer");
    });
    try {
      return await this.#orAlarm(Promise.race([answer, late]));
    } catch (error) {
      throw this.#end(error instanceof UserError ? error : this.#storeLost(error as Error));
    } finally {
      given.abort();
    }
  }

  /** Nothing can be done together after a fault: every later wait ends with it, and those that are open do not keep the process alive. */
  #end(fault: UserError): UserError {
    this.#ring(fault);
    native.abandonGroup();
    this.#nccl?.abort();
    return fault;
  }

  /** Puts a key of this rank's into the store and waits for those of the others. */
  async #arrive(key: string, text: string, what: string): Promise<void> {
    const end = performance.now() + this.#timeout;
    const left = (): number => Math.max(0, Math.round(end - performance.now()));
    const come = async (): Promise<number[]> => {
      await native.storeSet(`${key}/${this.rank}`, text);
      const missingAfter = async (patience: number, of: readonly number[]): Promise<number[]> => {
        const there = await Promise.all(of.map((r) => native.storeGet(`${key}/${r}`, patience)));
        return of.filter((_, i) => there[i] === undefined);
      };
      for (let missing = this.#ranks(); ; ) {
        missing = await missingAfter(Math.min(left(), SILENCE), missing);
        if (missing.length === 0 || left() === 0) return missing;
        if (this.#members.length === 0) continue;
        const silent = await this.#silent();
        // One that came meanwhile may be through with everything.
        missing = await missingAfter(0, missing);
        const gone = missing.filter((r) => silent.includes(r));
        if (gone.length > 0) throw await this.#tellFault(gone);
      }
    };
    const missing = await this.#asked(come(), this.#timeout + 2 * SILENCE);
    if (missing.length > 0)
      throw this.#end(
        new UserError(
          `Rank ${this.rank} of ${this.size} waited ${seconds(this.#timeout)} at ${what}; ${this.#namesOf(missing)} did not come.`,
          { code: "RESOURCE", hint: AGAIN },
        ),
      );
  }

  /** Whoever waits is told; a process that computes is told when it next waits. */
  #ring(alarm: UserError): void {
    this.#alarm = alarm;
    for (const reject of this.#waiting) reject(alarm);
  }

  #orAlarm<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#alarm) reject(this.#alarm);
      this.#waiting.add(reject);
      work.then(resolve, reject).finally(() => this.#waiting.delete(reject));
    });
  }

  /** The error of a failed collective. */
  async #failed(error: Error): Promise<UserError> {
    const asked = await Promise.race([
      this.#silent().catch(() => undefined),
      sleep(SILENCE + this.#atOnce, undefined, { ref: false }),
    ]);
    if (asked === undefined) return this.#storeLost(error);
    if (asked.length > 0) return this.#tellFault(asked);
    const what = /timed? ?out/i.test(error.message)
      ? `another rank lives, and did not come within ${seconds(this.#timeout)}`
      : `a connection failed: ${error.message.split("\n", 1)[0]}`;
    return new UserError(`Rank ${this.rank} of ${this.size} cannot go on: ${what}.`, {
      code: "RESOURCE",
      hint: AGAIN,
      cause: error,
    });
  }

  /** Tells the others, and gives them time to hear it before this process ends. */
  async #tellFault(gone: readonly number[]): Promise<UserError> {
    native.storeSet(FAULT, JSON.stringify(gone)).catch(() => {}); // where the store is gone too, each finds out by itself
    await sleep(3 * BEAT);
    return this.#fault(gone);
  }

  #fault(gone: readonly number[]): UserError {
    return new UserError(
      `Rank ${this.rank} of ${this.size} cannot go on: ${this.#namesOf(gone)} ${gone.length === 1 ? "gives" : "give"} no sign of life.`,
      { code: "RESOURCE", hint: AGAIN },
    );
  }

  #storeLost(error: Error): UserError {
    return new UserError(
      `Rank ${this.rank} of ${this.size} cannot go on: ${this.#namesOf([0])} gives no sign of life; the store was at ${this.#store}.`,
      { code: "RESOURCE", hint: AGAIN, cause: error },
    );
  }

  /** Ranks that gave no sign of life just now. Rejects where the store is gone. */
  async #silent(): Promise<number[]> {
    const beats = (): Promise<(string | undefined)[]> =>
      Promise.all(this.#ranks().map((r) => native.storeGet(beatsOf(r), 0)));
    const before = await beats();
    await sleep(SILENCE);
    const after = await beats();
    return this.#ranks().filter((r) => before[r] === after[r]);
  }

  /** `rank 2 (process 77 on node-3)`. */
  #namesOf(ranks: readonly number[]): string {
    const nameOf = (rank: number): string => {
      const member = this.#members[rank];
      if (!member) return `rank ${rank}`;
      return `rank ${rank} (process ${member.pid}${member.host === hostname() ? "" : ` on ${member.host}`})`;
    };
    return ranks.map(nameOf).join(", ");
  }

  #ranks(): number[] {
    return Array.from({ length: this.size }, (_, r) => r);
  }
}

const AGAIN = "See what that process said last. The same command goes on from the last checkpoint.";

const beatsOf = (rank: number): string => `beats/${rank}`;

const seconds = (milliseconds: number): string => `${Number((milliseconds / 1000).toPrecision(3))} s`;

const lengthOf = (bytes: Uint8Array): BigInt64Array => new BigInt64Array([BigInt(bytes.length)]);

const call = (operator: string, values: readonly unknown[]): unknown =>
  native.call(native.op(`_c10d_functional::${operator}`, ""), ...values);

/** Whether the elements lie in row-major order without gaps. */
function isContiguous(of: Tensor): boolean {
  let expected = 1;
  const { shape, strides } = of;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i] as number;
  }
  return true;
}
