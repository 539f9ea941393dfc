// Golden values of whole samplings of flow models: text to image, step by step, with the noises of the file.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { noGrad, scope, type Tensor, tensor } from "@spo/torch";
import {
  loadT5Encoder,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadVae,
} from "../layouts/model-folder.js";
import { FluxTransformer2DModel } from "../models/flux-transformer-2d.js";
import { packLatents } from "../models/patches.js";
import { guidedDenoiser } from "../pipelines/denoiser.js";
import { type FlowConfig, FlowSchedule } from "../process/flow-schedule.js";
import { gaussianLogProb, sampleGaussian } from "../process/gaussian.js";
import { fluxConditions } from "../prompts/flux-text.js";
import { sd3Conditions } from "../prompts/sd3-text.js";
import { loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import { loadT5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import { type GoldenSet, namesIn } from "./golden-set.js";
import { type Case, type Cases, type Check, collectCases, largest, openGolden } from "./verify-check.js";
import { type FlowTransformer, loadFlowTransformer } from "./verify-transformers.js";

const TRAJECTORY = /^trajectory-(sd3|sd35|flux|flux-schnell)-(flow-.+)\.safetensors$/;

/** A check for each sampling of a flow model that a set holds: `trajectory-<family>-flow-<any name>.safetensors`. */
export function flowTrajectoryChecks(set: GoldenSet): Check[] {
  return namesIn(set).flatMap((file) => {
    const [, family, name] = TRAJECTORY.exec(file) ?? [];
    if (family === undefined) return [];
    return [
      {
        name: `trajectory, ${family} ${name}`,
        files: [...new Set([file, `tiny-${family}`, restOf(family)])],
        optional: file,
        run: (dir: string) => checkTrajectory(dir, file, family),
      },
    ];
  });
}

/** The folder of the text encoders and the VAE: schnell has those of dev. */
const restOf = (family: string): string => (family === "flux-schnell" ? "tiny-flux" : `tiny-${family}`);

interface Settings {
  steps: number;
  guidance_scale: number;
  prompts: string[];
  negative_prompt: string | null;
  max_sequence_length: number;
  scheduler_config: FlowConfig;
  /** Absent: Euler's steps, which draw nothing. */
  kind?: "sde" | "cps";
  noise_level?: number;
}

/** How a model's levels begin and how large its patches are, as its pipeline has it. */
export const flowGridOf = (model: FlowTransformer) =>
  model instanceof FluxTransformer2DModel
    ? ({ spacing: "whole", patch: 2 } as const)
    : ({ spacing: "training", patch: model.config.patch_size } as const);

/** Of whole samplings. */
const TOLERANCES: Readonly<Record<string, number>> = {
  ...{ v: 3e-4, x0: 3e-4, mean: 1e-4, latents: 1e-4 },
  ...{ std: 1e-5, log_prob: 2e-5, log_prob_gaussian: 2e-5 },
};

function checkTrajectory(dir: string, name: string, family: string): Case[] {
  return noGrad(() =>
    collectCases((cases) => {
      const golden = openGolden(dir, name);
      const { file, get } = golden;
      const settings = golden.meta as unknown as Settings;
      const { steps, kind, noise_level: eta = 0 } = settings;
      const model = loadFlowTransformer(join(dir, `tiny-${family}`));
      const guidanceScale = model.takesGuidance ? settings.guidance_scale : 1; // the reference passes over it there
      const conditional = checkTexts(cases, golden, join(dir, restOf(family)));
      const initial = get("initial_latents");
      const latentSize = initial.shape.slice(2) as [number, number];
      const grid = { ...flowGridOf(model), latentSize };
      if (file.has("packed_initial_latents"))
        cases.near(
          "packed_initial_latents",
          packLatents(initial, grid.patch),
          get("packed_initial_latents"),
          0,
        );
      const process = new FlowSchedule(settings.scheduler_config, grid).forSampling({
        stepNoise: kind === "cps" ? "cps" : "flow-sde",
      });
      const timesteps = process.timesteps(steps);
      cases.near("sigmas", tensor([...process.sigmas(steps)]), get("sigmas"), 5e-7);
      cases.near("timesteps", tensor(timesteps), get("timesteps"), 5e-4);

      const unconditional = file.has("negative_pooled")
        ? { context: get("negative_prompt_embeds"), pooled: get("negative_pooled") }
        : conditional;
      const predict = guidedDenoiser({ model, conditional, unconditional, guidanceScale }).forRows(
        settings.prompts.map((_, i) => i),
      );
      const worst = new Map<string, number>();
      const see = (key: string, i: number, actual: Tensor, label = key): void => {
        if (!file.has(key)) return;
        if (i >= (file.info(key).shape[0] as number)) return; // a density that the last step has not
        const error = largest(actual.sub(get(key).select(0, i)));
        const before = worst.get(label) ?? 0;
        worst.set(label, error <= before ? before : error); // NaN stays
      };
      let x = initial;
      for (const [i, t] of timesteps.entries()) {
        const times = { t, previous: process.previousTimestep(t, steps), eta };
        x = scope(() => {
          const v = predict(x, t);
          const step = process.step(x, v, times);
          const next = eta > 0 ? sampleGaussian(step, get("noises").select(0, i)) : step.mean;
          const std = step.mean
            .mean([1, 2, 3])
            .mul(0)
            .add(step.std as number);
          const squares = next.sub(step.mean).square().mean([1, 2, 3]);
          see("v", i, v);
          see("x0", i, step.x0);
          see("mean", i, step.mean);
          see("std", i, std);
          see("latents", i, next);
          see("log_prob", i, kind === "cps" ? squares.neg() : gaussianLogProb(next, step));
          if (step.std !== 0) see("log_prob_gaussian", i, gaussianLogProb(next, step));
          // The same from the file's own latents and velocities, which no rounding of a model has gone into.
          const given = process.step(
            i === 0 ? initial : get("latents").select(0, i - 1),
            get("v").select(0, i),
            times,
          );
          see("x0", i, given.x0, "x0 of the given v");
          see("mean", i, given.mean, "mean of the given v");
          return next;
        });
      }
      for (const [label, maxError] of worst) {
        const tolerance = label.includes("given") ? 1e-5 : (TOLERANCES[label] as number);
        cases.list.push({ case: `${label}, ${steps} steps`, maxError, tolerance });
      }
      const vae = loadVae(join(dir, restOf(family), "vae"));
      cases.near("image01", vae.decodeLatents(x).div(2).add(0.5).clamp(0, 1), get("image01"), 1e-4);
      for (const each of [model, vae]) each.dispose();
    }),
  );
}

/** Token ids and embeddings of a file's prompts → the conditions. */
function checkTexts(
  cases: Cases,
  { file, get, meta }: ReturnType<typeof openGolden>,
  folder: string,
): { context: Tensor; pooled: Tensor } {
  const { prompts, negative_prompt: negative, max_sequence_length: length } = meta as unknown as Settings;
  const part = (name: string): string => join(folder, name);
  const hasSecondClip = existsSync(part("tokenizer_3"));
  const t5 = loadT5Tokenizer(part(hasSecondClip ? "tokenizer_3" : "tokenizer_2"));
  const clip = loadTokenizer(part("tokenizer"));
  const clip2 = hasSecondClip ? loadTokenizer(part("tokenizer_2")) : undefined;
  const idsOf = (texts: readonly string[]) => ({
    clip: clip.encodeBatch(texts),
    clip2: clip2?.encodeBatch(texts),
    t5: t5.encodeBatch(texts, length),
  });
  const ids = idsOf(prompts);
  cases.exact("input_ids", ids.clip.toNumbers(), get("input_ids").toNumbers());
  cases.exact("t5_input_ids", ids.t5.toNumbers(), get("t5_input_ids").toNumbers());
  if (ids.clip2) cases.exact("input_ids_2", ids.clip2.toNumbers(), get("input_ids_2").toNumbers());

  const textEncoder = hasSecondClip
    ? loadTextEncoderWithProjection(part("text_encoder"))
    : loadTextEncoder(part("text_encoder"));
  const textEncoder2 = hasSecondClip ? loadTextEncoderWithProjection(part("text_encoder_2")) : undefined;
  const long = loadT5Encoder(part(hasSecondClip ? "text_encoder_3" : "text_encoder_2"));
  const encode = ({ clip, clip2, t5 }: ReturnType<typeof idsOf>) =>
    textEncoder2 && clip2
      ? sd3Conditions(
          { textEncoder: textEncoder as typeof textEncoder2, textEncoder2, textEncoder3: long },
          { clip, clip2, t5 },
          long.width,
        )
      : fluxConditions({ textEncoder, textEncoder2: long }, { clip, t5 });
  const found = encode(ids);
  const near = (name: string, value: Tensor): void => cases.near(name, value, get(name), 2e-5);
  near("prompt_embeds", found.context);
  near("pooled", found.pooled);
  if (file.has("negative_pooled")) {
    // No negative prompt is the empty text.
    const away = encode(idsOf(prompts.map(() => negative ?? "")));
    near("negative_prompt_embeds", away.context);
    near("negative_pooled", away.pooled);
  }
  for (const encoder of [textEncoder, textEncoder2, long]) encoder?.dispose();
  return found;
}
