// @ts-check
// Loads the addon that set-up has made ready. Its functions are typed in index.d.ts.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { readAddonRecord } from "./addon-record.js";
import { wantsCuda } from "./find-libtorch.js";

const MEND = "Run `npx spo setup`, or `npx @spo/native` where @spo/cli is not installed.";

/** @returns {string} path of the addon */
function addonPath() {
  if (process.env.SPO_ADDON) return process.env.SPO_ADDON;
  const addon = readAddonRecord()?.addon;
  if (!addon) throw new Error(`The engine is not set up. ${MEND}`);
  if (!existsSync(addon)) throw new Error(`The engine's addon is gone from ${addon}. ${MEND}`);
  return addon;
}

const addon = addonPath();

// A thread that waits for another's part soon sleeps: after 1,000 turns, in place of GNU OpenMP's 300,000. On idle cores that
// is as fast; on busy ones a thread that spins keeps the one that it waits for from its core. Read when libtorch is loaded.
if (process.env.OMP_WAIT_POLICY === undefined) process.env.GOMP_SPINCOUNT ??= "1000";

/** @type {import("./index.js").Native} */
export const native = createRequire(import.meta.url)(addon);

// The addon is linked to libtorch's half for CPUs alone, so that it loads where there is no other. libtorch keeps what it finds when it is
// first asked for GPUs: before that the half for CUDA must be there. It takes 0.4 s and 270 MB, so only a machine with a driver loads it.
const cudaHalf = join(dirname(addon), "0/libtorch_cuda.so");
if (wantsCuda() && existsSync(cudaHalf)) native.loadLibrary(cudaHalf);
