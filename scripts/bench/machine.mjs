// @ts-check
import { cpus, loadavg, release, totalmem, type } from "node:os";

/** What a figure depends on. @param {string} vectors libtorch's name for the CPU's vector set */
export function machine(vectors) {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    vectors,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    // Above the number of cores, wall seconds say more about the neighbours than about either side.
    loadAverage: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  };
}
