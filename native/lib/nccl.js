// @ts-check
// Loads the library of NCCL that set-up has made ready. Its functions are typed in nccl.d.ts.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { readAddonRecord } from "./addon-record.js";

/** @returns {{ problem: string, fix: string } | null} */
export function ncclProblem() {
  const { libtorch, nccl } = readAddonRecord() ?? {};
  if (libtorch?.cuda === null)
    return {
      problem: `The libtorch at ${libtorch.root} has no CUDA.`,
      fix: "SPO_CUDA=1 npx spo setup --again",
    };
  if (nccl && nccl.library === null) return nccl;
  if (nccl && existsSync(nccl.library)) return null;
  return { problem: "NCCL's library is not built.", fix: "npx spo setup --again" };
}

/** @returns {import("./nccl.js").Nccl} */
export function loadNccl() {
  const record = readAddonRecord();
  if (!record?.nccl?.library) throw new Error(ncclProblem()?.problem);
  // c10d reads these when NCCL is opened. Its watchdog would end the process; here a collective that failed is an error like others, and
  // the time-out is that of all waits. torchrun sets the first of them.
  Object.assign(process.env, {
    TORCH_NCCL_ASYNC_ERROR_HANDLING: "0",
    TORCH_NCCL_BLOCKING_WAIT: "0",
    TORCH_NCCL_RETHROW_CUDA_ERRORS: "0",
  });
  return createRequire(import.meta.url)(record.nccl.library);
}
