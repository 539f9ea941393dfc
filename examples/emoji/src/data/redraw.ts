import { quantised } from "@spo/data/pixels";
import { allRows, guidedDenoiser, makeSampler, type StableDiffusion } from "@spo/diffusion";
import { cat, type Generator, keep, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";

export interface RedrawSettings {
  /** Share of the sampling steps that are done again: the more, the freer the redrawing. In (0, 1]. */
  strength: number;
  steps: number;
  guidanceScale: number;
}

/**
 * Redraws images from their noised latents: the same content with the model's own faults.
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
  const { process } = pipe;
  const sampler = makeSampler("ddim", process, steps, { eta: 1 });
  const first = Math.min(steps - 1, Math.round((1 - strength) * steps));
  const batch = 16;
  return keep(
    noGrad(() =>
      scope(() => {
        const parts = pixels.split(batch).map((part, chunk) =>
          scope(() => {
            const texts = prompts.slice(chunk * batch, (chunk + 1) * batch);
            const conditions = pipe.encode(texts);
            const x0 = pipe.vae.scale(pipe.vae.encode(part).mean);
            const draw = (): Tensor => randn(x0.shape, { generator, device: x0.device });
            const start = texts.map(() => sampler.timesteps[first] as number);
            let x = process.addNoise(x0, draw(), start);
            const predict = guidedDenoiser({ model: pipe.denoiser, ...conditions, guidanceScale }).forRows(
              allRows(conditions.conditional),
            );
            for (const [i, t] of sampler.timesteps.entries()) {
              if (i < first) continue;
              x = scope(() => sampler.step({ x, history: [] }, predict(x, t), i, draw).x);
            }
            return quantised(pipe.vae.decodeLatents(x));
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
        const chosen = pixels.indexSelect(0, tensor(rows, { dtype: "int64", device: pixels.device }));
        return redraw(pipe, chosen, prompts, settings, generator);
      });
      done += rows.length;
      yield { done, rows, images };
    }
  }
}

const STRENGTHS = [0.4, 0.55, 0.7, 0.85];
