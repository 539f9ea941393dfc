// @ts-check
import { spawn } from "node:child_process";

/** Watches the memory in use on a card by `nvidia-smi`, which counts what the driver and the allocator hold, too. */
export class GpuMemory {
  #child;
  /** @type {number | null} MiB */
  #first = null;
  #most = 0;

  /** @param {number} index of the card */
  constructor(index) {
    const query = [
      `--id=${index}`,
      "--query-gpu=memory.used",
      "--format=csv,noheader,nounits",
      "--loop-ms=200",
    ];
    this.#child = spawn("nvidia-smi", query, { stdio: ["ignore", "pipe", "ignore"] });
    this.#child.on("error", () => {}); // there is none: nothing is told
    this.#child.stdout?.on("data", (data) => {
      for (const used of String(data).trim().split("\n").map(Number).filter(Number.isFinite)) {
        this.#first ??= used;
        this.#most = Math.max(this.#most, used - this.#first);
      }
    });
  }

  /** @returns {number | null} how many MiB more than at the beginning were in use at most; null where nothing told */
  stop() {
    this.#child.kill();
    return this.#first === null ? null : this.#most;
  }
}
