// What the addon's convolution keeps of small kernels (native/src/winograd-weights.h).
import type { Module } from "./module.js";

/** Most bytes that are kept; `kMostBytes` of the addon's. */
const MOST = 64 << 20;

/** Whether a kernel [results, channels, 3, 3] is small enough to be kept as it is multiplied by; `is_small_kernel` of the addon's. */
export const isSmallKernel = (channels: number, results: number): boolean => channels * results <= 1 << 16;

/**
 * At most so many bytes are kept of the kernels of these modules once they were used, on a CPU in float32: four times each frozen 3×3
 * kernel that is small, and as much again for backward.
 */
export function keptKernelBytes(forward: Iterable<Module>, backward: Iterable<Module> = []): number {
  const bytes = [...forward, ...backward]
    .flatMap((module) => [...new Set(module.parameters())])
    .filter(({ shape: [results = 0, channels = 0, height, width], dtype, requiresGrad }) => {
      return (
        height === 3 &&
        width === 3 &&
        dtype === "float32" &&
        !requiresGrad &&
        isSmallKernel(channels, results)
      );
    })
    .reduce((sum, { nbytes }) => sum + 4 * nbytes, 0);
  return Math.min(bytes, MOST);
}
