// What a preference model's training works with: the base, the model that learns, the pairs.
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { generatorAt, UserError } from "@spo/torch";
import { PUBLISHED_LRM } from "../../spm/latent-reward-model.js";
import { requireScorer, startPreferenceModel } from "../../spm/open-preference-model.js";
import { comparesVectors, type PreferenceModel, toDtype } from "../../spm/preference-model.js";
import { phaseTeller, type RecipeContext } from "../recipe.js";
import { sharerOf } from "../training/micro-batches.js";
import { makeOptimizer } from "../training/optimizer.js";
import { setUpVae } from "../training/precision.js";
import { encodeFirst, PromptCache } from "../training/prompt-cache.js";
import { trainingSide } from "../training/training-side.js";
import { Update } from "../training/update.js";
import { labelledSource, promptsOfPairs } from "./labelled-source.js";
import { PUBLISHED_LEVELS } from "./latent-pair-noiser.js";
import { teacherSource } from "./teacher-source.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/** Throws UserErrors for a model, a scorer or pairs that will not do. The caller closes it. */
export async function setUpSpm(config: TrainSpmConfig, context: RecipeContext, meter: WorkMeter) {
  const { device } = context;
  const { seed } = config;
  const tell = phaseTeller(context);
  requireInputs(config);
  tell("loading the model");
  const pipe = loadTextToImage(config.model, {
    configs: config.configs ?? undefined,
    device: config.promptCache === null ? device : "cpu",
    dtype: config.baseDtype,
  });
  setUpVae(pipe.vae, config);
  const side = trainingSide(pipe, config.resolution);
  const cache =
    config.promptCache === null
      ? undefined
      : new PromptCache(config.promptCache, {
          ...{ pipe, model: config.model, configs: config.configs, size: [side, side] },
        });
  if (cache) {
    tell("encoding the prompts");
    encodeFirst(pipe, { device, texts: [{ cache, prompts: await promptsOfPairs(config) }] });
  }
  tell("loading the scorer");
  const { teacher: place } = config;
  const teacher =
    place === null ? undefined : startPreferenceModel(place, pipe, generatorAt(seed, "teacher"));
  const model = startPreferenceModel(config.init, pipe, generatorAt(seed, "init"), {
    kind: config.kind ?? (teacher ? "latent" : null),
    width:
      teacher && config.distill !== "preferences" && comparesVectors(teacher) ? teacher.width : undefined,
    settings: {
      guidanceScale: config.featureGuidance,
      multiScale: config.multiScale,
      multiScaleCfg: PUBLISHED_LRM.multiScaleCfg,
    },
  });
  requireNoising(config, pipe, model);
  if (config.dtype !== "float32") toDtype(model.module, config.dtype);
  tell("reading the pairs");
  const source = teacher
    ? await teacherSource(config, { pipe, model, teacher, side, meter })
    : await labelledSource(config, {
        ...{ pipe, cache, model, side, device, meter, sharer: sharerOf(context.world, config.reduce) },
        onNoised: (done, total) => tell("noising held-out pairs", { done, total }),
      });

  const parameters = model.parameters();
  for (const parameter of parameters) parameter.requiresGrad = true;
  model.gradientCheckpointing = config.gradientCheckpointing;
  const optimizer = makeOptimizer(parameters, config.optimizer, seed);
  const { maxGradNorm, reduce } = config;
  const update = new Update({ parameters, optimizer, maxGradNorm, meter, world: context.world, reduce });
  const modules = { spm: model.module };
  /** What must be the same in every process. */
  const models = { ...pipe.models, teacher: teacher?.module, ...modules };
  return { ...{ tell, model, source, update, models }, state: { modules, optimizer } };
}

/** Throws a UserError (`CONFIG`) where what it learns from is missing: before a model is loaded, or fetched. */
function requireInputs({ pairs, teacher, init, kind, promptCache }: TrainSpmConfig): void {
  if (promptCache !== null && (teacher || kind === "latent")) throw notCacheable();
  if (!teacher && pairs.length === 0)
    throw new UserError("pairs is missing: the preference pairs to learn from.", {
      code: "CONFIG",
      hint: "Give files or folders: --pairs pairs.parquet. Without labels a teacher can give them: --teacher FOLDER --prompts FILE.",
    });
  if ((kind ?? (teacher ? "latent" : "pixel")) === "pixel") requireScorer(init);
}

const notCacheable = (): UserError =>
  new UserError(
    "promptCache frees the base's text encoders, and a model of the kind latent is made of them.",
    {
      code: "CONFIG",
      hint: "Leave promptCache out.",
    },
  );

/** Throws a UserError (`CONFIG`) for settings under which nothing could be drawn, or that the kind has no use for. */
function requireNoising(config: TrainSpmConfig, { process }: TextToImage, { sees }: PreferenceModel): void {
  const { maxTimestep, augmentation, pixelNoise, teacher, pairs } = config;
  if (config.promptCache !== null && sees === "latents") throw notCacheable();
  const noiseLevels = config.noiseLevels ?? (sees === "latents" ? PUBLISHED_LEVELS : null);
  if (noiseLevels !== null && !process.timesteps(noiseLevels).some((t) => t <= maxTimestep))
    throw new UserError(
      `A sampling of ${noiseLevels} steps (noiseLevels) has no timestep up to ${maxTimestep} (maxTimestep).`,
      { code: "CONFIG", hint: "Give more noiseLevels, or a larger maxTimestep." },
    );
  if (config.dtype !== "float32" && config.optimizer.kind !== "adamw8bit")
    throw new UserError(`dtype is ${config.dtype}, in which AdamW's plain steps would be lost.`, {
      code: "CONFIG",
      hint: "Set optimizer.kind to adamw8bit, or dtype to float32.",
    });
  const ofImages = teacher !== null && pairs.length > 0;
  if (sees === "latents" && (pixelNoise > 0 || (augmentation && !ofImages)))
    throw new UserError(
      "augmentation and pixelNoise change pixels, and a model of the kind latent sees none.",
      {
        code: "CONFIG",
        hint: "Leave them out; augmentation is of use with a teacher and pairs, whose images it changes.",
      },
    );
}
