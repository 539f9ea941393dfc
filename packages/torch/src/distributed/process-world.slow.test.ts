// What a world does while NCCL waits, with stand-ins for NCCL and for the store: no GPU is needed.
import type { Nccl } from "@spo/native/nccl";
import { afterEach, expect, test, vi } from "vitest";
import { UserError } from "../errors.js";
import { ProcessWorld } from "./process-world.js";

/** What the stand-ins do, and what they were asked. */
const told = vi.hoisted(() => ({
  open: (): Promise<undefined> => Promise.resolve(undefined),
  /** Signs of life of rank 1 so far, at each look. */
  beats: [] as number[],
  looks: 0,
  stored: [] as string[],
  /** What another process has told of a fault. */
  fault: undefined as string | undefined,
  aborted: 0,
}));

vi.mock("@spo/native/nccl", () => ({
  loadNccl: (): Nccl => ({
    open: () => told.open(),
    done: () => Promise.resolve(undefined),
    abort: () => void told.aborted++,
    close: () => Promise.resolve(undefined),
  }),
}));

vi.mock("@spo/native", async (original) => {
  const { native } = await original<typeof import("@spo/native")>();
  return {
    native: {
      ...native,
      abandonGroup: () => {},
      storeSet: async (key: string, text: string) => void told.stored.push(`${key} ${text}`),
      storeGet: async (key: string) => {
        if (key === "fault") return told.fault;
        return key === "beats/1"
          ? String(told.beats[told.looks++] ?? told.beats.at(-1))
          : String(performance.now());
      },
    },
  };
});

afterEach(() => Object.assign(told, { looks: 0, stored: [], fault: undefined, aborted: 0 }));

const world = () =>
  new ProcessWorld({ rank: 0, size: 2, localRank: 0, timeout: 60_000, store: "127.0.0.1:1" });

const faultOf = async (work: Promise<unknown>): Promise<UserError> => {
  const error = await work.catch((reason: unknown) => reason);
  if (error instanceof UserError) return error;
  throw error ?? new Error("nothing was refused");
};

test("while NCCL waits, a rank is not called dead as long as it gives signs of life; then it is named to all, and NCCL aborted", async () => {
  told.open = () => new Promise(() => {});
  told.beats = [1, 2, 3, 3];
  const { code, message } = await faultOf(world().openNccl("cuda:0"));
  expect([code, message]).toEqual(["RESOURCE", "Rank 0 of 2 cannot go on: rank 1 gives no sign of life."]);
  expect([told.looks, told.stored, told.aborted]).toEqual([4, ['fault {"ranks":[1]}'], 1]);
});

test("NCCL's own reason is told, with what to do, and the others are told of this rank", async () => {
  told.open = () => Promise.reject(new Error("no GPUs found\nframes of C++"));
  const { code, message, hint } = await faultOf(world().openNccl("cuda:0"));
  expect([code, message]).toEqual([
    "ENVIRONMENT",
    "Rank 0 of 2 does not connect to the others by NCCL: no GPUs found.",
  ]);
  expect(hint).toContain("SPO_DISTRIBUTED_BACKEND=gloo");
  expect(told.stored.map((text) => JSON.parse(text.replace("fault ", "")))).toEqual([
    { ranks: [0], reason: { code, message, hint } },
  ]);
  expect(told.aborted).toBe(1);
});

test("a rank that has told why it ended is no rank without a sign of life, and its code and hint are kept", async () => {
  told.open = () => new Promise(() => {});
  told.beats = [3];
  told.fault = JSON.stringify({
    ranks: [1],
    reason: { code: "DATA", message: "a.parquet is damaged.", hint: "Fetch it." },
  });
  const { code, message, hint } = await faultOf(world().openNccl("cuda:0"));
  expect([code, message, hint]).toEqual([
    "DATA",
    "Rank 0 of 2 cannot go on: rank 1 has ended. a.parquet is damaged.",
    "Fetch it.",
  ]);
  expect(told.stored).toEqual([]);
});

test("a process tells why it ends, and after a fault that all know nothing", async () => {
  const ending = world();
  await ending.tellEnd({ code: "DATA", message: "a.parquet is damaged." });
  expect(told.stored).toEqual([
    'fault {"ranks":[0],"reason":{"code":"DATA","message":"a.parquet is damaged."}}',
  ]);
  told.stored = [];
  told.open = () => new Promise(() => {});
  told.beats = [3];
  await faultOf(ending.openNccl("cuda:0"));
  told.stored = [];
  await ending.tellEnd({ code: "DATA", message: "a.parquet is damaged." });
  expect(told.stored).toEqual([]);
});
