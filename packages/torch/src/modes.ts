// Thread-wide modes of the engine, each for the length of a function.
import { native } from "@spo/native";
import { throughEngine } from "./checkpoint.js";
import { type Device, type DType, dtypeCode } from "./dtype.js";
import { UserError } from "./errors.js";
import { handlesOf, wrap } from "./handle.js";
import { notAPromise } from "./scope.js";
import type { Tensor } from "./tensor.js";

/** Runs `fn` without recording a graph. */
export const noGrad = <T>(fn: () => T): T => withGradMode(false, fn, "noGrad");

/** Runs `fn` with recording, inside `noGrad`. */
export const enableGrad = <T>(fn: () => T): T => withGradMode(true, fn, "enableGrad");

function withGradMode<T>(on: boolean, fn: () => T, where: string): T {
  const before = native.setGradMode(on);
  try {
    return notAPromise(fn(), where);
  } finally {
    native.setGradMode(before);
  }
}

/** Like `noGrad`, and without version counters: a little faster, but its tensors can never be part of a graph. */
export function inferenceMode<T>(fn: () => T): T {
  return withInferenceMode(true, fn);
}

/** Runs `fn` as if `inferenceMode` were off: what it makes can be part of a graph. */
export const outsideInferenceMode = <T>(fn: () => T): T => withInferenceMode(false, fn);

function withInferenceMode<T>(on: boolean, fn: () => T): T {
  native.pushInferenceMode(on);
  try {
    return notAPromise(fn(), "inferenceMode");
  } finally {
    native.popInferenceMode();
  }
}

/** Runs `fn` with matrix products and convolutions in `dtype` (bfloat16 or float16), the rest as autocast's lists say. */
export function autocast<T>({ device = "cpu", dtype }: { device?: Device; dtype: DType }, fn: () => T): T {
  const [enabled, code] = native.setAutocast(device, true, dtypeCode(dtype));
  try {
    return notAPromise(fn(), "autocast");
  } finally {
    native.setAutocast(device, enabled === 1, code);
  }
}

/** d(sum of outputs · gradients)/d(input) for each input; undefined where an input has no part in the outputs. */
export function grad(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  {
    gradients,
    retainGraph = false,
    createGraph = false,
  }: { gradients?: readonly Tensor[]; retainGraph?: boolean; createGraph?: boolean } = {},
): (Tensor | undefined)[] {
  const found = throughEngine(() =>
    native.grad(
      handlesOf(outputs, "grad", "outputs"),
      handlesOf(inputs, "grad", "inputs"),
      gradients ? handlesOf(gradients, "grad", "gradients") : null,
      retainGraph || createGraph,
      createGraph,
    ),
  );
  return found.map((handle) => (handle === null ? undefined : wrap(handle)));
}

/**
 * Threads within one operator. Two threads on two busy cores are slower than one: measure.
 *
 * Throws a UserError (`USAGE`) for a number that this machine cannot use.
 */
export function setThreads(count: number): void {
  try {
    native.threads(count);
  } catch (error) {
    const { message } = error as Error;
    if (!/^threads must be/.test(message)) throw error;
    throw new UserError(`${count} threads: ${message}.`, { code: "USAGE", cause: error });
  }
}

/** Threads within one operator. */
export const getThreads = (): number => native.threads();

/** Gives the memory of freed tensors back to the system. The engine keeps it otherwise, since a step soon wants it again. */
export const trimMemory = (): void => native.trimMemory();

/**
 * Has the first SIGINT, SIGTERM or SIGHUP that the program listens to answered with these words on stderr, at once, and a second one more
 * than 0.2 s later end the process: also in the middle of a computation, where JavaScript hears neither. To be called after `process.on`.
 */
export const answerSignals = (words: string): void => native.answerSignals(words);

/** What the engine is: libtorch's version, the CPU's vector set, `cuda` or `cpu`. */
export function engineFacts(): { libtorch: string; cpu: string; backend: string } {
  const [libtorch, cpu, backend] = native.facts();
  return { libtorch, cpu, backend };
}
