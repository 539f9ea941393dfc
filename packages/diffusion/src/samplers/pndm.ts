import { scope, type Tensor, UserError } from "@spo/torch";
import type { NoiseSchedule } from "./noise-schedule.js";
import type { Sampler } from "./sampler.js";

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
  return scope(() => {
    const ofEps = (p - a) / (a * Math.sqrt(1 - p) + Math.sqrt(a * (1 - a) * p));
    return xt.mul(Math.sqrt(p / a)).sub(eps, { alpha: ofEps });
  });
}

/**
 * PLMS: PNDM's linear multistep method without its Runge–Kutta start, over a checkpoint's schedule.
 *
 * The first step is taken twice, as Heun's method does, so there is a call more than steps: the second goes from the first x again, with
 * the mean of the outputs at both ends. History: that first x, or the last outputs. Source: diffusers PNDMScheduler, `skip_prk_steps`.
 */
export function pndmSampler(schedule: NoiseSchedule, steps: number): Sampler {
  if (schedule.config.skip_prk_steps === false) {
    throw new UserError(
      "scheduler_config.json asks for PNDM with Runge–Kutta steps, which is not supported here.",
      {
        code: "CONFIG",
        hint: 'Set "skip_prk_steps" to true, as Stable Diffusion has it.',
      },
    );
  }
  if (schedule.config.rescale_betas_zero_snr) {
    throw new UserError(
      "PNDM does not know rescale_betas_zero_snr, which scheduler_config.json has: its steps divide by ᾱ, whose last is then 0.",
      { code: "CONFIG", hint: "Choose another scheduler: ddim, euler, euler-ancestral or dpmpp-2m." },
    );
  }
  const visited = schedule.timesteps(steps);
  const timesteps = [...visited.slice(0, 2), ...visited.slice(1)]; // the second twice
  // Where the step of call i starts: the repeated call starts from the first timestep again.
  const from = (i: number): number =>
    (i === 1 ? (visited[1] as number) + schedule.stride(steps) : timesteps[i]) as number;
  return {
    timesteps,
    initialScale: 1,
    alphaBar: (i) => schedule.alphaBar(timesteps[i] as number),
    input: (x) => x,
    step: ({ x, history }, output, i) =>
      scope(() => {
        const start = from(i);
        const move = (xt: Tensor, combined: Tensor): Tensor => {
          const alphaBar = schedule.alphaBar(start);
          // Outputs are combined as they are and turned into ε after that, by the x of this step.
          return pndmStep(xt, schedule.epsOf(xt, combined, alphaBar), {
            alphaBar,
            alphaBarPrev: schedule.alphaBarAfter(start, steps),
          });
        };
        if (i === 0) return { x: move(x, output), history: [output, x] };
        if (i === 1) {
          const [first, initial] = history as [Tensor, Tensor];
          return { x: move(initial, first.add(output).div(2)), history: [first] };
        }
        const outputs = [output, ...history].slice(0, COEFFICIENTS.length);
        return { x: move(x, multistepOutput(outputs)), history: outputs };
      }),
  };
}
