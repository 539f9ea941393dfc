// The preference model: features, scores, pixels, noising, loss.
import { join } from "node:path";
import { type Case, collectCases, type GoldenFamily, loadUnet, loadVae, openGolden } from "@spo/diffusion";
import { centreCrop, resizeShortSide, scorePixels, trainPixels } from "@spo/scorers";
import { cat, noGrad, type Tensor } from "@spo/torch";
import { spmLoss } from "../objectives/spm-loss.js";
import { timestepSinusoid } from "../spm/clip-vision.js";
import { loadSpm } from "../spm/spm.js";
import { noisyPredictions } from "../spm/spm-noising.js";

import { denoiserOf, namesUnder, processOf } from "./golden-inputs.js";

export function checkSpm(folder: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, "expected-spm.safetensors");
      const { spm } = loadSpm(join(folder, "tiny-spm"));
      const timesteps = get("timesteps").toNumbers();
      const sinusoids = timestepSinusoid(get("timesteps"), sinusoidOf(spm));
      for (const [i, t] of timesteps.entries()) {
        // Processors round the exp of a frequency differently, by one unit in its last place (2⁻²⁴ below 1); the angle has t times that.
        const tolerance = 1e-5 + t * 2 ** -24;
        cases.near(`sinusoid.${i}`, sinusoids.narrow(0, i, 1), get("sinusoid").narrow(0, i, 1), tolerance);
      }
      const text = spm.textFeatures(get("input_ids"));
      cases.near("text_features", text, get("text_features"), 1e-5);
      for (const [i, t] of timesteps.entries()) {
        const image = spm.imageFeatures(get("pixel_values"), t);
        cases.near(`image_features.${i}`, image, get(`image_features.${i}`), 1e-5);
        cases.near(`scores.${i}`, spm.scores(image, text), get(`scores.${i}`), 5e-5);
      }
      const mixed = spm.imageFeatures(get("pixel_values"), get("mixed_timesteps"));
      cases.near("mixed_scores", spm.scores(mixed, text), get("mixed_scores"), 5e-5);
      spm.imageFeatures(
        get("pixel_values"),
        (meta.tap_timestep as number | undefined) ?? (timesteps[2] as number),
        (name, value) => {
          if (!file.has(`taps/${name}`)) return;
          const expected = get(`taps/${name}`);
          cases.near(`taps/${name}`, value.expand(expected.shape), expected, 1e-5);
        },
      );
      cases.covered(
        "taps",
        file.keys().filter((key) => key.startsWith("taps/")),
      );
      spm.dispose();
    }),
  );
}

const sinusoidOf = ({
  config,
}: {
  config: { time_conditioning: { frequency_embedding_size: number; max_period: number } };
}) => ({
  size: config.time_conditioning.frequency_embedding_size,
  maxPeriod: config.time_conditioning.max_period,
});

/** Where the file says nothing, the model's own. */
interface Pixels {
  size?: number;
  image_mean?: readonly number[];
  image_std?: readonly number[];
}

export function checkPixels(folder: string): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, "spm-preprocess.safetensors");
    const { spm, processor: own } = loadSpm(join(folder, "tiny-spm"));
    spm.dispose();
    const { size = own.size, image_mean: mean = own.mean, image_std: std = own.std } = meta as Pixels;
    const processor = { size, mean, std };
    for (let i = 0; file.has(`score.${i}.image`); i++) {
      const image = get(`score.${i}.image`);
      const resized = resizeShortSide(image, processor.size);
      cases.near(`score.${i}.resized`, resized, get(`score.${i}.resized`), 1e-5);
      cases.near(`score.${i}.cropped`, centreCrop(resized, processor.size), get(`score.${i}.cropped`), 1e-5);
      cases.near(
        `score.${i}.pixel_values`,
        scorePixels(image, processor),
        get(`score.${i}.pixel_values`),
        1e-5,
      );
      cases.near(
        `train.${i}.pixel_values`,
        trainPixels(image, processor),
        get(`train.${i}.pixel_values`),
        1e-5,
      );
    }
  });
}

export function checkSpmLoss(folder: string): Case[] {
  return collectCases((cases) => {
    const { file, get } = openGolden(folder, "losses-spm.safetensors");
    const { spm } = loadSpm(join(folder, "tiny-spm"));
    spm.requiresGrad_();
    const timesteps = get("timesteps");
    const text = spm.textFeatures(get("input_ids"));
    const image = spm.imageFeatures(
      cat([get("pixel_values_0"), get("pixel_values_1")]),
      cat([timesteps, timesteps]),
    );
    const [score0, score1] = image.chunk(2).map((features) => spm.scores(features, text)) as [Tensor, Tensor];
    const examples = get("num_example_per_prompt");
    const { loss, perSample, weight } = spmLoss({
      score0,
      score1,
      label0: get("label_0"),
      label1: get("label_1"),
      examples,
    });
    loss.backward();
    cases.near("text_features", text, get("text_features"), 1e-5);
    cases.near("image_features", image, get("image_features"), 1e-5);
    cases.near("score_0", score0, get("score_0"), 5e-5);
    cases.near("score_1", score1, get("score_1"), 5e-5);
    // One pair's loss carries the rounding of its two scores, cosines times exp(logit_scale): some 2⁻²⁴ of the scale each.
    const roundingOfScores = 2 ** -22 * spm.logit_scale.detach().exp().item();
    cases.near("per_sample", perSample, get("per_sample"), Math.max(2e-6, roundingOfScores));
    cases.near("weight", weight, get("weight"), 2e-6);
    cases.near("loss", loss, get("loss"), 2e-6);
    const parameters = spm.namedParameters();
    cases.gradients(
      "gradients",
      namesUnder(file, "grad/").map((name) => [
        name,
        parameters.get(name.replace(/^model\./, ""))?.grad,
        get(`grad/${name}`),
      ]),
      () => 1e-5,
    );
    spm.dispose();
  });
}

export function checkNoising(folder: string, family: GoldenFamily): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, `spm-noising-${family}.safetensors`);
      const { guidance_scale: guidanceScale = 5, size } = meta as { guidance_scale?: number; size?: number };
      const unet = loadUnet(join(folder, `tiny-${family}`, "unet"));
      const vae = loadVae(join(folder, `tiny-${family}`, "vae"));
      const { spm, processor } = loadSpm(join(folder, "tiny-spm"));
      const timesteps = get("timesteps").toNumbers();
      const made = noisyPredictions(
        { vae, denoiser: denoiserOf(unet, file, guidanceScale), process: processOf(folder, family) },
        {
          image0: get("image_0"),
          image1: get("image_1"),
          posteriorNoise0: get("posterior_noise_0"),
          posteriorNoise1: get("posterior_noise_1"),
          noise: get("noise"),
          timesteps,
          rows: timesteps.map((_, i) => i),
        },
      );
      const both = (name: string): Tensor => cat([get(`${name}_0`), get(`${name}_1`)]);
      const decoded = vae.decodeLatents(made.x0);
      // Guided predictions carry the rounding of a trajectory's step, not of one module.
      cases.near("latents", made.latents, both("latents"), 1e-5);
      cases.near("noisy", made.noisy, both("noisy"), 1e-5);
      cases.near("eps", made.eps, both("eps"), 1e-4);
      cases.near("x0", made.x0, both("x0"), 1e-3);
      // A sampling's image may be 1e-4 off in [0, 1]: twice that here, in [−1, 1].
      cases.near("decoded", decoded, both("decoded"), 2e-4);
      cases.near(
        "pixel_values",
        trainPixels(decoded, { ...processor, size: size ?? processor.size }),
        both("pixel_values"),
        1e-4 / Math.min(...processor.std), // the same 1e-4, divided as the pixels are
      );
      for (const model of [unet, vae, spm]) model.dispose();
    }),
  );
}
