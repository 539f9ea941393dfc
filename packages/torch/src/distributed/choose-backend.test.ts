import { expect, test } from "vitest";
import { UserError } from "../errors.js";
import { askedBackend, type BackendFacts, chooseBackend, gpuOf } from "./choose-backend.js";

const NOT_BUILT = { problem: "nccl.h is not there.", fix: "pip install nvidia-nccl-cu13\nspo setup --again" };

const on = (host: string, gpu?: string, problem: BackendFacts["problem"] = null): BackendFacts => ({
  host,
  device: gpu === undefined ? "cpu" : "cuda:0",
  ...(gpu !== undefined && { gpu }),
  problem,
});

const faultOf = (work: () => unknown): UserError => {
  try {
    work();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
};

test("processes with a GPU each go by NCCL, also with GPUs of one number on two machines", () => {
  const ranks = [on("a", "0"), on("a", "1"), on("b", "0")];
  expect(chooseBackend(undefined, ranks)).toEqual({ name: "nccl" });
  expect(chooseBackend("nccl", ranks)).toEqual({ name: "nccl" });
  expect(chooseBackend("gloo", ranks)).toEqual({ name: "gloo" });
});

test("processes on the CPU go by gloo without a word, and NCCL is refused them", () => {
  const ranks = [on("a", "0"), on("a")];
  expect(chooseBackend(undefined, [on("a"), on("a")])).toEqual({ name: "gloo" });
  expect(chooseBackend(undefined, ranks).why).toContain("rank 1 computes on cpu");
  const { code, message, hint } = faultOf(() => chooseBackend("nccl", ranks));
  expect([code, message]).toEqual(["CONFIG", "NCCL carries tensors of GPUs, and rank 1 computes on cpu."]);
  expect(hint).toContain("--device cuda");
});

test("more ranks than GPUs are refused NCCL by rank, GPU and machine, and go by gloo with that reason where none is asked for", () => {
  const ranks = [on("a", "0"), on("a", "1"), on("a", "0")];
  const { code, message } = faultOf(() => chooseBackend("nccl", ranks));
  expect([code, message]).toEqual(["CONFIG", "Ranks 0 and 2 share GPU 0 of a, and NCCL gives each its own."]);
  expect(chooseBackend(undefined, ranks)).toEqual({ name: "gloo", why: expect.stringContaining(message) });
});

test("a rank without NCCL's library is named, with what is missing and the commands that mend it", () => {
  const ranks = [on("a", "0"), on("b", "0", NOT_BUILT)];
  const { code, message, hint } = faultOf(() => chooseBackend("nccl", ranks));
  expect([code, message, hint]).toEqual([
    "ENVIRONMENT",
    "NCCL is not there for rank 1 on b. nccl.h is not there.",
    "There: pip install nvidia-nccl-cu13; spo setup --again",
  ]);
  expect(chooseBackend(undefined, ranks).name).toBe("gloo");
});

test("$SPO_DISTRIBUTED_BACKEND is gloo, nccl or unset", () => {
  expect(
    [undefined, "", "gloo", "nccl"].map((name) => askedBackend({ SPO_DISTRIBUTED_BACKEND: name })),
  ).toEqual([undefined, undefined, "gloo", "nccl"]);
  expect(faultOf(() => askedBackend({ SPO_DISTRIBUTED_BACKEND: "mpi" })).message).toContain('"mpi"');
});

test.each([
  ["cpu", "0,1", undefined],
  ["cuda", undefined, "0"],
  ["cuda:1", "", "1"],
  ["cuda:0", "3", "3"],
  ["cuda:1", "GPU-a,GPU-b", "GPU-b"],
])("%s, of the GPUs %s, is GPU %s of the machine", (device, visible, gpu) => {
  expect(gpuOf(device, { CUDA_VISIBLE_DEVICES: visible })).toBe(gpu);
});
