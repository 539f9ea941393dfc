import { scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import type { VpSchedule } from "../process/vp-schedule.js";
import { type Sampler, type SamplerState, settingsOf, unsupported } from "./sampler.js";

/** What PNDM reads of a scheduler_config.json beside the process. */
export const PndmConfig = z.looseObject({ skip_prk_steps: z.boolean().nullish() });

/** Adams–Bashforth coefficients by how many outputs there are, newest first. Source: Liu et al. 2022, eq. 12. */
const COEFFICIENTS: readonly (readonly number[])[] = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

/** A weighted sum of the last one to four outputs, newest first: what the linear multistep method puts in place of the newest. */
export function multistepOutput(outputs: readonly Tensor[]): Tensor {
  return scope(() => {
    const coefficients = COEFFICIENTS[outputs.length - 1] as readonly number[];
    return outputs
      .map((output, i) => output.mul(coefficients[i] as number))
      .reduce((sum, term) => sum.add(term));
  });
}

/**
 * From x_t to x_{t−δ} by ε.
 *
 * x' = √(p/a)·x − (p − a)·ε/(a·√(1−p) + √(a·(1−a)·p)), a = ᾱ_t, p = ᾱ_{t−δ}. xt, eps [b, c, h, w]. Source: Liu et al. 2022, eq. 11.
 */
export function pndmStep(
  xt: Tensor,
  eps: Tensor,
  { alphaBar: a, alphaBarPrev: p }: { alphaBar: number; alphaBarPrev: number },
): Tensor {
  // In float32, operation by operation, as in diffusers: from noise nearly alone, p/a is large and both terms nearly cancel.
  const f = Math.fround;
  const ofX = Math.sqrt(f(p / a));
  const ofEps = f(f(a * f(Math.sqrt(f(1 - p)))) + f(Math.sqrt(f(f(a * f(1 - a)) * p))));
  return scope(() => xt.mul(ofX).sub(eps.mul(p - a).div(ofEps)));
}

/** A call of the model: the timestep that it is told, and the step that x takes after it. */
interface Call {
  t: number;
  from: number;
  to: number;
}

/** A step of x by combined outputs. */
type Move = (xt: Tensor, output: Tensor) => Tensor;

/**
 * PNDM over a checkpoint's schedule: a linear multistep method, begun by PLMS' way or, without `skip_prk_steps`, by Runge–Kutta.
 *
 * Source: Liu et al. 2022, algorithm 2; diffusers PNDMScheduler.
 */
export function pndmSampler(schedule: VpSchedule, steps: number): Sampler {
  const { rescale_betas_zero_snr, prediction_type } = schedule.config;
  if (prediction_type === "sample")
    throw unsupported('has prediction_type "sample", which PNDM does not know.');
  if (rescale_betas_zero_snr)
    throw unsupported("has rescale_betas_zero_snr: PNDM's steps divide by ᾱ, whose last is then 0.");
  const runs = settingsOf(PndmConfig, schedule).skip_prk_steps === false;
  if (runs && steps <= RUNGE_KUTTA_STEPS)
    throw unsupported(
      `has "skip_prk_steps": false: PNDM begins with ${RUNGE_KUTTA_STEPS} Runge–Kutta steps, and ${steps} are asked for.`,
      "Ask for more steps.",
    );
  const [visited, stride] = [schedule.timesteps(steps), schedule.stride(steps)];
  const first = runs ? rungeKuttaCalls(visited, stride) : plmsCalls(visited, stride);
  const rest = visited.slice(runs ? RUNGE_KUTTA_STEPS : 1).map((t): Call => ({ t, from: t, to: t - stride }));
  const calls = [...first, ...rest];
  const begin = runs ? rungeKuttaStep : plmsStep;
  return {
    timesteps: calls.map(({ t }) => t),
    initialScale: 1,
    input: (x) => x,
    step: (state, output, i) =>
      scope(() => {
        const { from, to } = calls[i] as Call;
        const move: Move = (xt, combined) => {
          const alphaBar = schedule.alphaBar(from);
          // Outputs are combined as they are and turned into ε after that, by the x of this step.
          const eps = schedule.epsOf(xt, combined, alphaBar);
          return pndmStep(xt, eps, { alphaBar, alphaBarPrev: schedule.alphaBarAtEnd(to) });
        };
        if (i < first.length) return begin(state, output, i, move);
        const outputs = [output, ...state.history].slice(0, COEFFICIENTS.length);
        return { x: move(state.x, multistepOutput(outputs)), history: outputs };
      }),
  };
}

/** PLMS takes the first step twice, as Heun's method does: the second goes from the first x again, so there is a call more than steps. */
function plmsCalls([first, second]: readonly number[], stride: number): Call[] {
  const start = { t: first as number, from: first as number, to: (first as number) - stride };
  return second === undefined ? [start] : [start, { t: second, from: second + stride, to: second }];
}

/** A step by the output, then one by the mean of the outputs at both ends. History: the first output and the first x; then that output. */
function plmsStep({ x, history }: SamplerState, output: Tensor, i: number, move: Move): SamplerState {
  if (i === 0) return { x: move(x, output), history: [output, x] };
  const [first, initial] = history as [Tensor, Tensor];
  return { x: move(initial, first.add(output).div(2)), history: [first] };
}

const RUNGE_KUTTA_STEPS = 3;

/** The classical four calls a step: at its start, twice half way, at its end. */
function rungeKuttaCalls(visited: readonly number[], stride: number): Call[] {
  const half = Math.floor(stride / 2);
  return visited.slice(0, RUNGE_KUTTA_STEPS).flatMap((from, i) => {
    const end = visited[i + 1] as number;
    return [
      { t: from, from, to: from - half },
      { t: end + half, from, to: end + half },
      { t: end + half, from, to: end },
      { t: end, from, to: end },
    ];
  });
}

/** Steps from the step's first x each time. History: that x, the sum of outputs so far, and the first output of each step, newest first. */
function rungeKuttaStep({ x, history }: SamplerState, output: Tensor, i: number, move: Move): SamplerState {
  const call = i % 4;
  if (call === 0) return { x: move(x, output), history: [x, output.div(6), output, ...history] };
  const [start, sum, ...firsts] = history as [Tensor, Tensor, ...Tensor[]];
  if (call === 3) return { x: move(start, sum.add(output.div(6))), history: firsts };
  return { x: move(start, output), history: [start, sum.add(output.div(3)), ...firsts] };
}
