// @ts-check
// Runs steps one after another, each within its own time and all within one. What fails stops nothing but itself.
import { spawn } from "node:child_process";
import { GpuMemory } from "./gpu-memory.mjs";

/**
 * How a program is run. env: added to this one's. killAfter: it is ended by SIGKILL once its output has this, which is then no fault.
 * allows: an exit code that is no fault either.
 *
 * @typedef {{ env?: Record<string, string>, killAfter?: RegExp, allows?: number }} ShellOptions
 *
 * What a step runs a program with, for its stdout: it fails where the program does, and ends it, with what that has started, when the
 * step's time is up.
 *
 * @typedef {(program: string, args: readonly string[], options?: ShellOptions) => Promise<string>} Shell
 * @typedef {object} Step
 * @property {string} name
 * @property {string} what it shows
 * @property {number} limit seconds
 * @property {boolean} [always] run whatever is asked for: later steps need it
 * @property {(shell: Shell) => Promise<Record<string, unknown>>} run gives figures; a figure `fault` says that they are not as they must be
 * @typedef {object} Outcome
 * @property {string} name
 * @property {string} what
 * @property {"ok" | "failed" | "left out"} state
 * @property {number} seconds
 * @property {number | null} gpuPeakMiB what the card's memory grew by at most; null where nothing tells
 * @property {Record<string, unknown>} figures
 * @property {string | null} fault
 */

/** What of a program's output is told of a fault, characters. */
const TOLD = 2000;

/**
 * @param {readonly Step[]} steps
 * @param {{ seconds: number, gpu?: number, tell?: (outcome: Outcome) => void, keep?: (sofar: readonly Outcome[]) => void }} options
 *   seconds: of all together; gpu: whose memory is watched
 * @returns {Promise<Outcome[]>} of each step, in their order
 */
export async function runSteps(steps, { seconds, gpu, tell = () => {}, keep = () => {} }) {
  const end = performance.now() + 1000 * seconds;
  /** @type {Outcome[]} */
  const outcomes = [];
  for (const step of steps) {
    const outcome = await runStep(step, Math.min(step.limit, (end - performance.now()) / 1000), gpu);
    outcomes.push(outcome);
    tell(outcome);
    keep(outcomes);
  }
  return outcomes;
}

/** @param {Step} step @param {number} limit seconds @param {number} [gpu] @returns {Promise<Outcome>} */
async function runStep({ name, what, run }, limit, gpu) {
  const outcome = { name, what, seconds: 0, gpuPeakMiB: null, figures: {} };
  if (limit <= 0) return { ...outcome, state: "left out", fault: "no time was left" };
  const before = performance.now();
  const memory = gpu === undefined ? undefined : new GpuMemory(gpu);
  const stop = AbortSignal.timeout(Math.ceil(1000 * limit));
  try {
    const { fault = null, ...figures } = await run((program, args, options) =>
      shell(program, args, stop, options),
    );
    Object.assign(outcome, { figures });
    if (fault !== null) throw new Error(String(fault));
    return { ...outcome, ...measured(), state: "ok", fault: null };
  } catch (error) {
    const fault = stop.aborted
      ? `not done within ${limit.toFixed(0)} s`
      : /** @type {Error} */ (error).message;
    return { ...outcome, ...measured(), state: "failed", fault };
  }

  function measured() {
    return { seconds: (performance.now() - before) / 1000, gpuPeakMiB: memory?.stop() ?? null };
  }
}

/**
 * @param {string} program @param {readonly string[]} args @param {AbortSignal} stop
 * @param {ShellOptions} [options] @returns {Promise<string>}
 */
function shell(program, args, stop, { env = {}, killAfter, allows = 0 } = {}) {
  return new Promise((resolve, reject) => {
    if (stop.aborted) throw new Error("no time was left");
    // A group of its own, so that what it has started ends with it.
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", ...env },
    });
    let [stdout, stderr, killed] = ["", "", false];
    const kill = () => {
      killed = true;
      try {
        if (child.pid) process.kill(-child.pid, "SIGKILL");
      } catch {} // it has ended
    };
    stop.addEventListener("abort", kill);
    child.stdout.on("data", (data) => {
      stdout += data;
      if (killAfter?.test(stdout) && !killed) kill();
    });
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    child.on("error", reject);
    child.on("close", (code) => {
      stop.removeEventListener("abort", kill);
      if (code === 0 || code === allows || (killed && !stop.aborted)) resolve(stdout);
      else
        reject(
          new Error(
            `${[program.split("/").at(-1), ...args].join(" ")}: exit code ${code}\n${(stdout + stderr).slice(-TOLD)}`,
          ),
        );
    });
  });
}
