// Which devices there are.
import type { Device } from "./dtype.js";
import { UserError } from "./errors.js";
import { engineFacts } from "./modes.js";
import { zeros } from "./ops.gen.js";

/**
 * The device of a name as tensors spell it: `cuda` is `cuda:0`. Makes a tensor there, so that a missing device is an error before any work.
 *
 * name: `cpu`, `cuda`, `cuda:N`, `mps`; `meta` for shapes without numbers. Throws a UserError: `CONFIG` for another name, `ENVIRONMENT`
 * where this machine has no such device.
 */
export function resolveDevice(name: string): Device {
  requireDeviceName(name);
  if (name === "cpu" || name === "meta") return name;
  const indexed = name === "cuda" ? "cuda:0" : name;
  try {
    const probe = zeros([1], { device: indexed });
    const { device } = probe;
    probe.dispose();
    return device;
  } catch (error) {
    const { message } = error as Error;
    const why = WITHOUT_CUDA.test(message)
      ? `libtorch ${engineFacts().libtorch} is here without CUDA`
      : firstSentence(message);
    throw new UserError(`This machine has no device ${name}: ${why}.`, {
      code: "ENVIRONMENT",
      hint: "`npx spo doctor` tells what there is. --device cpu computes on the processor.",
      cause: error,
    });
  }
}

/** What libtorch says where its half for CUDA was not loaded. */
const WITHOUT_CUDA = /arguments from the 'CUDA' backend|without ATen_cuda/;

/** Throws a UserError (`CONFIG`) for a name that no device has, whatever this machine offers. */
export function requireDeviceName(name: string): void {
  if (/^(cpu|meta|mps|cuda(:\d+)?)$/.test(name)) return;
  throw new UserError(`There is no device ${JSON.stringify(name)}.`, {
    code: "CONFIG",
    hint: "A device is cpu, cuda or cuda:N (N counts the GPUs from 0).",
  });
}

const firstSentence = (text: string): string =>
  (text.split("\n", 1)[0] as string).split(". ", 1)[0]?.replace(/\.$/, "") as string;
