import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize, serialize } from "node:v8";
import { native } from "@spo/native";
import { loadNccl, type Nccl } from "@spo/native/nccl";
import type { Device } from "../dtype.js";
import { UserError, type UserErrorCode } from "../errors.js";
import { noGrad } from "../modes.js";
import { scope } from "../scope.js";
import { Tensor, tensor } from "../tensor.js";
import type { ChosenBackend } from "./choose-backend.js";
import { interfaceOf } from "./network-address.js";
import type { World } from "./world.js";

/** What the processes know of one of them. */
export interface Member {
  host: string;
  pid: number;
  address: string;
  /** How many processes it was told that there are. */
  size: number;
}

/** Why a process ends, as its error says it. */
export interface EndReason {
  code: UserErrorCode;
  message: string;
  hint?: string;
}

/** What the processes tell each other of ranks that are gone. reason: where they ended by themselves. */
export interface Fault {
  ranks: readonly number[];
  reason?: EndReason;
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
/** In which all have heard what one tells. */
const HEARD = 3 * BEAT;
/** Longest time for what rank 0 does alone, ms: that it is gone is seen long before. */
const A_DAY = 86_400_000;
/** Longest time for what the store answers at once, and for what the others are about to put there, ms. */
const AT_ONCE = 10_000;
/** Where the first process that sees a fault tells the others. */
const FAULT = "fault";
/** Where a process that ends before it has joined the others tells why. Only those that are still at the start look there. */
const REFUSAL = "refusal";

/**
 * Takes a process's place in an open store and tells there why it will not work with the others, so that they need not wait for it. Does
 * nothing where another process has that place. serves: this process holds the store, and waits until the others have read it.
 */
export async function refuseStart(
  { rank, size, serves }: { rank: number; size: number; serves: boolean },
  reason: EndReason,
): Promise<void> {
  if ((await native.storeAdd(takenBy(rank), 1)) !== "1") return;
  await native.storeSet(REFUSAL, JSON.stringify({ ranks: [rank], reason } satisfies Fault));
  await native.storeSet(memberOf(rank), "");
  await native.storeSet(leftBy(rank), "");
  if (serves) await allRead(size, AT_ONCE);
}

/** Waits until all processes have read why one will not work with them. */
async function allRead(size: number, patience: number): Promise<void> {
  const end = performance.now() + patience;
  for (let rank = 1; rank < size; rank++)
    await native.storeGet(leftBy(rank), Math.max(0, Math.round(end - performance.now())));
}

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
  #waits = 0;
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
      (told) => (told === undefined ? undefined : this.#hear(JSON.parse(told) as Fault)), // undefined: closed
      (error: Error) => this.#ring(this.#storeLost(error)),
    );
    await this.#arrive(MEMBER, JSON.stringify(me), "the start");
    await this.#asked(this.#requireNoRefusal());
    const told = await this.#asked(
      Promise.all(this.#ranks().map((r) => native.storeGet(memberOf(r), AT_ONCE))),
    );
    const members = told.map((text) => JSON.parse(text ?? "") as Member);
    const other = members.findIndex(({ size }) => size !== this.size);
    if (other >= 0) throw this.#end(await this.#told(this.#unlikeSize(other, members[other] as Member)));
    this.#members = members;
  }

  #unlikeSize(rank: number, { size }: Member): UserError {
    const said = [`rank ${this.rank} has ${this.size}`, `rank ${rank} has ${size}`];
    return new UserError(
      `The processes do not have the same number of processes: ${(rank < this.rank ? said.reverse() : said).join(", ")}.`,
      { code: "CONFIG", hint: "Give all of them the same WORLD_SIZE, and every job a port of its own." },
    );
  }

  /** An error of this process alone, of which the others are told before it is thrown. */
  async #told(fault: UserError): Promise<UserError> {
    await this.tellEnd(fault);
    return fault;
  }

  /**
   * Connects this process, which is at an address, to the others over an interface: null for the one of the address. Throws a UserError:
   * `RESOURCE` naming the ranks that are gone, else `ENVIRONMENT` with gloo's reason.
   */
  async connect(address: string, networkInterface: string | null): Promise<void> {
    const { rank, size } = this;
    try {
      const { GROUP } = ProcessWorld;
      await this.#watched(native.openGroup(GROUP, rank, size, address, networkInterface, this.#timeout));
    } catch (error) {
      const gone =
        error instanceof UserError
          ? error
          : await this.#goneAfter(error as Error).catch((alarm: UserError) => alarm);
      if (gone) throw this.#end(gone);
      const over = networkInterface ?? interfaceOf(address) ?? "no interface";
      const fault = new UserError(
        `Rank ${rank} of ${size} does not connect to the others over ${over} (${address}): ${firstLine(error as Error)}.`,
        {
          code: "ENVIRONMENT",
          hint: "All machines must reach each other. GLOO_SOCKET_IFNAME names the interface to take.",
          cause: error,
        },
      );
      throw this.#end(await this.#told(fault));
    }
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
      const fault = new UserError(
        `Rank ${this.rank} of ${this.size} does not connect to the others by NCCL: ${firstLine(error as Error)}.`,
        {
          code: "ENVIRONMENT",
          hint: "NCCL_DEBUG=INFO tells what it tries; SPO_DISTRIBUTED_BACKEND=gloo goes over the CPU's memory.",
          cause: error,
        },
      );
      throw this.#end(await this.#told(fault));
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

  async waitForRank0(what: string): Promise<void> {
    await this.#arrive(`alone/${this.#waits++}`, "here", what, { of: [0], timeout: A_DAY });
  }

  async close(): Promise<void> {
    await this.waitForRank0("the end"); // it may have something to write
    await this.barrier("the end");
    // Rank 0 leaves last: the others have still to read that all are here.
    const others = this.#ranks().slice(1);
    await this.#asked(
      this.rank > 0
        ? native.storeSet(leftBy(this.rank), "")
        : Promise.all(others.map((r) => native.storeGet(leftBy(r), AT_ONCE))),
    );
    await this.#nccl?.close();
    await native.closeGroup();
  }

  /** Tells the others why this process ends before they do, and gives them time to hear it. After a fault they know. */
  async tellEnd({ code, message, hint }: EndReason): Promise<void> {
    if (!this.#alarm) await this.#tellFault({ ranks: [this.rank], reason: { code, message, hint } });
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
      const fault =
        error instanceof UserError
          ? error
          : await this.#failed(error as Error).catch((alarm: UserError) => alarm);
      throw this.#end(fault);
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
        if (gone.length > 0) throw await this.#tellFault({ ranks: gone });
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

  /** Puts a key of this rank's into the store and waits for those of ranks, all unless told. */
  async #arrive(
    key: string,
    text: string,
    what: string,
    { of = this.#ranks(), timeout = this.#timeout } = {},
  ): Promise<void> {
    const end = performance.now() + timeout;
    const left = (): number => Math.max(0, Math.round(end - performance.now()));
    const come = async (): Promise<number[]> => {
      await native.storeSet(`${key}/${this.rank}`, text);
      const missingAfter = async (patience: number, of: readonly number[]): Promise<number[]> => {
        const there = await Promise.all(of.map((r) => native.storeGet(`${key}/${r}`, patience)));
        return of.filter((_, i) => there[i] === undefined);
      };
      for (let missing = of; ; ) {
        missing = await missingAfter(Math.min(left(), SILENCE), missing);
        if (missing.length === 0 || left() === 0) return missing;
        if (this.#members.length === 0) {
          await this.#requireNoRefusal();
          continue;
        }
        const silent = await this.#silent();
        // One that came meanwhile may be through with everything.
        missing = await missingAfter(0, missing);
        const gone = missing.filter((r) => silent.includes(r));
        if (gone.length > 0) throw await this.#tellFault({ ranks: gone });
      }
    };
    const missing = await this.#asked(come(), timeout + 2 * SILENCE);
    if (missing.length > 0)
      throw this.#end(
        await this.#told(
          new UserError(
            `Rank ${this.rank} of ${this.size} waited ${seconds(timeout)} at ${what}; ${this.#namesOf(missing)} did not come.`,
            { code: "RESOURCE", hint: AGAIN },
          ),
        ),
      );
  }

  /** Throws what a process has told that will not work with the others. */
  async #requireNoRefusal(): Promise<void> {
    const told = await native.storeGet(REFUSAL, 0);
    if (told === undefined) return;
    await native.storeSet(leftBy(this.rank), "");
    if (this.rank === 0) await allRead(this.size, 2 * SILENCE); // they look after so long
    throw this.#fault(JSON.parse(told) as Fault);
  }

  /** Another process tells of a fault. */
  async #hear(fault: Fault): Promise<void> {
    // With rank 0 the store goes: those that look a moment later are to find it.
    if (this.rank === 0 && this.size > 2) await sleep(HEARD, undefined, { ref: false });
    this.#ring(this.#fault(fault));
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

  /** Who is gone, where that is why something failed. Rejects with what another process tells meanwhile. */
  async #goneAfter(error: Error): Promise<UserError | undefined> {
    const asked = await this.#orAlarm(
      Promise.race([
        this.#silent().catch(() => undefined),
        sleep(SILENCE + this.#atOnce, undefined, { ref: false }),
      ]),
    );
    if (asked === undefined) return this.#storeLost(error);
    return asked.length > 0 ? this.#tellFault({ ranks: asked }) : undefined;
  }

  /** The error of a failed collective. Rejects as `#goneAfter`. */
  async #failed(error: Error): Promise<UserError> {
    const gone = await this.#goneAfter(error);
    if (gone) return gone;
    const what = /timed? ?out/i.test(error.message)
      ? `another rank lives, and did not come within ${seconds(this.#timeout)}`
      : `a connection failed: ${firstLine(error)}`;
    return new UserError(`Rank ${this.rank} of ${this.size} cannot go on: ${what}.`, {
      code: "RESOURCE",
      hint: AGAIN,
      cause: error,
    });
  }

  /** Tells the others, and gives them time to hear it before this process ends → what they are told, by the first that saw it. */
  async #tellFault(fault: Fault): Promise<UserError> {
    // Where the store is gone too, each finds out by itself.
    const before = native.storeGet(FAULT, 0).catch(() => undefined);
    const told = await Promise.race([before, sleep(BEAT, undefined)]);
    if (told !== undefined) return this.#fault(JSON.parse(told) as Fault);
    native.storeSet(FAULT, JSON.stringify(fault)).catch(() => {});
    await sleep(HEARD);
    return this.#fault(fault);
  }

  #fault({ ranks, reason }: Fault): UserError {
    const who = `Rank ${this.rank} of ${this.size} cannot go on: ${this.#namesOf(ranks)}`;
    const isOne = ranks.length === 1;
    if (reason)
      return new UserError(`${who} ${isOne ? "has" : "have"} ended. ${reason.message}`, {
        code: reason.code,
        hint: reason.hint,
      });
    return new UserError(`${who} ${isOne ? "gives" : "give"} no sign of life.`, {
      code: "RESOURCE",
      hint: AGAIN,
    });
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

const MEMBER = "member";
const beatsOf = (rank: number): string => `beats/${rank}`;
const memberOf = (rank: number): string => `${MEMBER}/${rank}`;
const leftBy = (rank: number): string => `left/${rank}`;
export const takenBy = (rank: number): string => `taken/${rank}`;

export const seconds = (milliseconds: number): string => `${Number((milliseconds / 1000).toPrecision(3))} s`;

/** Without the full stop, for a sentence that ends with it. */
export const firstLine = (error: Error): string =>
  (error.message.split("\n", 1)[0] as string).replace(/[.?]+$/, "");

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
