// Trains a latent reward model on captioned artwork: what the latent preference model starts from, as the pixel one starts from a CLIP.

import { readPrompts } from "@spo/data";
import { augment } from "@spo/data/pixels";
import { StableDiffusion } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import {
  AdamW,
  cat,
  generatorAt,
  keep,
  noGrad,
  randint,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { startPreferenceModel, textRows } from "spo";
import { openContext, type RecipeEvent, type RecipeOptions, Update } from "spo/recipes";
import { noArtwork, readArtwork } from "../data/artwork.js";
import { rowsOfHalf } from "../data/halves.js";
import type { PretrainLrmSettings } from "../settings.gen.js";
import { pretrainingSteps } from "./pretrain-loop.js";
import { PretrainLrmConfig } from "./pretrain-lrm-config.js";

/** Renderings that the VAE encodes at a time. */
const CHUNK = 32;

/**
 * Contrast of noised latents with captions: each image's own against `others` of the batch, as image-text contrastive training has it
 * (Radford et al. 2021), but with few texts an image, since the network sees the text too (Zhang et al. 2025). Yields a step event each
 * step.
 */
export async function* pretrainLrm(
  settings: PretrainLrmSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(PretrainLrmConfig, settings);
  using context = openContext({ kind: "pretrain lrm", schema: PretrainLrmConfig }, config, options);
  const { run, signal, device } = context;
  const leaveOut = config.leaveOut.flatMap((path) => readPrompts(path));
  const artwork = await readArtwork(config.data, { leaveOut });
  const pipe = StableDiffusion.load(config.model, { device });
  const rows = rowsOfHalf(artwork, config.half);
  const captions = rows.map((row) => artwork.captions[row] as string);
  const asked = rows.flatMap((row, i) => (artwork.core[row] ? [i] : []));
  if (asked.length === 0) throw noArtwork(config.data);
  const real = keep(
    scope(() => artwork.pixels.indexSelect(0, tensor(rows, { dtype: "int64" })).to({ device })),
  );
  const views: Tensor[] = [];
  for (let view = 0; view < config.views; view++) {
    const changed = view === 0 ? undefined : generatorAt(config.seed, "view", view);
    views.push(keep(scope(() => encoded(pipe, changed ? augment(real, changed, AUGMENTATION) : real))));
    yield* run.phase("latents of the artwork", view + 1, config.views);
    signal.throwIfAborted();
  }
  real.dispose();

  const model = startPreferenceModel(null, pipe, generatorAt(config.seed, "initialize"), {
    kind: "latent",
    settings: { guidanceScale: 1, multiScale: true, multiScaleCfg: false },
  });
  const scale = model.module.namedParameters().get("logit_scale") as Tensor;
  const parameters = model.parameters();
  for (const parameter of parameters) parameter.requiresGrad = true;
  const optimizer = new AdamW(parameters, { lr: config.lr, weightDecay: 0.02 });
  const state = { modules: { lrm: model.module }, optimizer };
  const update = new Update({ parameters, optimizer, maxGradNorm: 1 });
  const timesteps = [...pipe.process.timesteps(config.noiseLevels), 0];
  yield* pretrainingSteps(context, {
    config,
    state,
    update,
    warmup: Math.round(0.03 * config.steps),
    backward: (step) => {
      const generator = generatorAt(config.seed, "step", step);
      const draw = (high: number, n: number): number[] => randint(0, high, [n], { generator }).toNumbers();
      const half = Math.floor(config.batch / 2);
      const chosen = [
        // The base's own things are what it will be asked about.
        ...draw(asked.length, half).map((i) => asked[i] as number),
        ...draw(rows.length, config.batch - half),
      ];
      const latents = views[draw(views.length, 1)[0] as number] as Tensor;
      const t = draw(timesteps.length, config.batch).map((i) => timesteps[i] as number);
      const x0 = latents.indexSelect(0, tensor(chosen, { dtype: "int64", device }));
      const noise = randn(x0.shape, { generator }).to({ device });
      const xt = noGrad(() => pipe.process.addNoise(x0, noise, t));
      const shown = chosen.map((i) => captions[i] as string);
      const shifts = draw(config.batch - 1, config.others).map((shift) => shift + 1);
      const asking = [shown, ...shifts.map((shift) => otherCaptions(shown, shift))];
      const distinct = [...new Set(shown)];
      const texts = textRows(
        model.encode(distinct),
        asking.flat().map((caption) => distinct.indexOf(caption)),
      );
      const copies = <T>(value: T): T[] => asking.map(() => value);
      const times = tensor(copies(t).flat(), { dtype: "int64", device });
      const scores = model.score(cat(copies(xt)), times, texts).reshape([asking.length, config.batch]);
      const loss = scores.logSoftmax(0).select(0, 0).mean().neg();
      loss.backward();
      const accuracy = scores.argmax(0).eq(0).to({ dtype: "float32" }).mean().item();
      return { loss: loss.item(), accuracy };
    },
    afterUpdate: () => noGrad(() => void scale.clamp_(null, Math.log(config.maxScale))),
  });
  model.save(config.output);
  yield* run.done({ output: config.output });
}

const AUGMENTATION = { colour: 0.2, scale: 0.15, shift: 0.08 } as const;

/** pixels [n, 3, h, w] → scaled latents [n, c, h/f, w/f]. */
const encoded = ({ vae }: Pick<StableDiffusion, "vae">, pixels: Tensor): Tensor =>
  noGrad(() => cat(pixels.split(CHUNK).map((part) => vae.scale(vae.encode(part).mean))));

/** For each image the caption `shift` places on, or the next that is not its own; its own where the batch has no other. */
export function otherCaptions(captions: readonly string[], shift: number): string[] {
  const n = captions.length;
  return captions.map((own, i) => {
    const places = Array.from({ length: n }, (_, j) => captions[(i + shift + j) % n] as string);
    return places.find((caption) => caption !== own) ?? own;
  });
}
