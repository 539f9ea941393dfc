import { ddimStep, type StableDiffusion } from "@spo/diffusion";
import { cat, type Generator, keep, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";
import { quantised } from "../evaluation/samples.js";

export interface RedrawSettings {
  /** Share of the sampling steps that are done again: the more, the freer the redrawing. In (0, 1]. */
  strength: number;
  steps: number;
  guidanceScale: number;
}

/**
 * What the model makes of images when it draws them again from their noised latents: the same content with the model's own faults.
 *
 * pixels [n, 3, h, w] in [−1, 1]; prompts: one an image, empty for what the model has no words for. → the same shape, 8-bit levels, in no
 * scope. Source: Meng et al. 2022 (SDEdit), with DDIM steps of η = 1.
 */
export function redraw(
  pipe: StableDiffusion,
  pixels: Tensor,
  prompts: readonly string[],
  { strength, steps, guidanceScale }: RedrawSettings,
  generator: Generator,
): Tensor {
  const { schedule } = pipe;
  const first = Math.min(steps - 1, Math.round((1 - strength) * steps));
  const visited = schedule.timesteps(steps).slice(first);
  const batch = 16;
  return keep(
    noGrad(() =>
      scope(() => {
        const parts = pixels.split(batch).map((part, chunk) =>
          scope(() => {
            const texts = prompts.slice(chunk * batch, (chunk + 1) * batch);
            const context = pipe.encodePrompts(texts);
            const uncond = pipe.encodePrompts(texts.map(() => ""));
            const x0 = pipe.vae.encode(part).mean.mul(pipe.vae.scalingFactor);
            const start = tensor(
              texts.map(() => visited[0] as number),
              { dtype: "int64" },
            );
            let xt = schedule.addNoise(x0, randn(x0.shape, { generator }), start);
            for (const t of visited) {
              xt = scope(() => {
                const eps = pipe.epsOf(xt, pipe.predictOutput(xt, t, { context, uncond, guidanceScale }), t);
                const alphaBarPrev = schedule.alphaBar(Math.max(t - schedule.stride(steps), 0));
                const { mean, std } = ddimStep(xt, eps, {
                  alphaBar: schedule.alphaBar(t),
                  alphaBarPrev,
                  eta: 1,
                });
                return mean.add(randn(xt.shape, { generator }), { alpha: std });
              });
            }
            return quantised(pipe.vae.decodeLatents(xt));
          }),
        );
        return cat(parts);
      }),
    ),
  );
}

/** Redraws each image once, at one of four strengths; what is in `known` is drawn with its caption, the rest without words. */
export function* redrawAll(
  pipe: StableDiffusion,
  pixels: Tensor,
  captions: readonly string[],
  known: ReadonlySet<string>,
  { steps, guidanceScale }: Omit<RedrawSettings, "strength">,
  generator: Generator,
): globalThis.Generator<{ done: number; rows: number[]; images: Tensor }> {
  const groups = new Map<string, number[]>();
  for (const [row, caption] of captions.entries()) {
    const key = `${STRENGTHS[row % STRENGTHS.length]}/${known.has(caption)}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  let done = 0;
  for (const [key, all] of groups) {
    const [strength, worded] = key.split("/");
    for (let start = 0; start < all.length; start += 64) {
      const rows = all.slice(start, start + 64);
      const settings = {
        strength: Number(strength),
        steps,
        guidanceScale: worded === "true" ? guidanceScale : 1,
      };
      const prompts = rows.map((row) => (worded === "true" ? (captions[row] as string) : ""));
      const images = scope(() => {
        const chosen = pixels.indexSelect(0, tensor(rows, { dtype: "int64" }));
        return redraw(pipe, chosen, prompts, settings, generator);
      });
      done += rows.length;
      yield { done, rows, images };
    }
  }
}

const STRENGTHS = [0.4, 0.55, 0.7, 0.85];
