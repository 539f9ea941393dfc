// What a preference model's training works with: the base, the model that learns, the pairs.
import { openPairSet, type PairBatch, PairLoader } from "@spo/data";
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { AdamW, generatorAt, UserError } from "@spo/torch";
import { loadReward } from "../../judges/load-reward.js";
import { PUBLISHED_LRM } from "../../spm/latent-reward-model.js";
import { startPreferenceModel } from "../../spm/open-preference-model.js";
import type { PreferenceModel } from "../../spm/preference-model.js";
import { phaseTeller, type RecipeContext } from "../recipe.js";
import { trainingSide } from "../training/training-side.js";
import { Update } from "../training/update.js";
import { PUBLISHED_LEVELS } from "./latent-pair-noiser.js";
import { HeldOutAccuracy } from "./measure-accuracy.js";
import { pairNoiser } from "./pair-noiser.js";
import { relabelPairs } from "./relabel-pairs.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/** Held-out pairs that are noised together when `microBatch` does not say. */
const EVAL_CHUNK = 32;

/** Throws UserErrors for a model, a scorer or pairs that will not do. The caller closes it. */
export async function setUpSpm(config: TrainSpmConfig, context: RecipeContext, meter: WorkMeter) {
  const { device } = context;
  const { seed, batch, relabel } = config;
  const tell = phaseTeller(context);
  tell("loading the model");
  const pipe = loadTextToImage(config.model, { configs: config.configs ?? undefined, device });
  const side = trainingSide(pipe, config.resolution);
  tell("loading the scorer");
  const model = startPreferenceModel(config.init, pipe, generatorAt(seed, "init"), {
    kind: config.kind,
    settings: {
      guidanceScale: config.featureGuidance,
      multiScale: config.multiScale,
      multiScaleCfg: PUBLISHED_LRM.multiScaleCfg,
    },
  });
  requireNoising(config, pipe, model);
  const reward = relabel && (await loadReward(labeller(config), { tokenizer: pipe.tokenizer, device }));
  const labelled = async (read: PairBatch, counted?: WorkMeter): Promise<PairBatch> =>
    relabel && reward ? relabelPairs(read, { reward, threshold: relabel.threshold }, counted) : read;
  const noiser = pairNoiser(pipe, model, { ...config, side });
  const reading = { side, kernel: "bicubic", aheadBytes: config.readAhead * 2 ** 20 } as const;
  tell("reading the pairs");
  const { allowOutside, evalPairs } = config;
  const set = await openPairSet(config.pairs, { allowOutside, split: config.split });
  const loader = new PairLoader(set, { seed, ...reading });
  const heldSet =
    evalPairs > 0
      ? await openPairSet(config.pairs, { allowOutside, split: config.evalSplit, limit: evalPairs })
      : undefined;
  const accuracy =
    heldSet &&
    new HeldOutAccuracy({
      ...{ set: heldSet, reading: { ...reading, seed: null }, timesteps: config.evalTimesteps },
      ...{ chunk: config.microBatch ?? EVAL_CHUNK, seed, noiser, labelled },
      withoutTies: relabel !== undefined, // source: algorithm 3c, evaluation
      onNoised: (done, total) => tell("noising held-out pairs", { done, total }),
    });

  const parameters = model.parameters();
  for (const parameter of parameters) parameter.requiresGrad = true;
  model.gradientCheckpointing = config.gradientCheckpointing;
  const optimizer = new AdamW(parameters, config.optimizer);
  const { maxGradNorm } = config;
  const update = new Update({ parameters, optimizer, maxGradNorm, meter });
  return {
    ...{ tell, model, set, reading, loader, accuracy, update },
    making: { noiser, labelled, batch, seed, meter },
    state: { modules: { spm: model.module }, optimizer },
    async close(): Promise<void> {
      await loader.close();
      await set.close();
      await heldSet?.close();
      reward?.dispose?.();
    },
  };
}

/** Which reward makes the labels anew. Throws a UserError (`CONFIG`) where none is named and there is no scorer to start from. */
function labeller({ relabel, init }: TrainSpmConfig): string {
  if (relabel?.by) return relabel.by;
  if (init !== null) return `pickscore:${init}`;
  throw new UserError("relabel.by is missing: there is no init whose plain scores could make the labels.", {
    code: "CONFIG",
    hint: "Name the scorer: --relabel.by pickscore:FOLDER.",
  });
}

/** Throws a UserError (`CONFIG`) for settings under which nothing could be drawn, or that the kind has no use for. */
function requireNoising(config: TrainSpmConfig, { process }: TextToImage, { sees }: PreferenceModel): void {
  const { maxTimestep, augmentation, pixelNoise } = config;
  const noiseLevels = config.noiseLevels ?? (sees === "latents" ? PUBLISHED_LEVELS : null);
  if (noiseLevels !== null && !process.timesteps(noiseLevels).some((t) => t <= maxTimestep))
    throw new UserError(
      `A sampling of ${noiseLevels} steps (noiseLevels) has no timestep up to ${maxTimestep} (maxTimestep).`,
      { code: "CONFIG", hint: "Give more noiseLevels, or a larger maxTimestep." },
    );
  if (sees === "latents" && (augmentation || pixelNoise > 0))
    throw new UserError(
      "augmentation and pixelNoise change pixels, and a model of the kind latent sees none.",
      {
        code: "CONFIG",
        hint: "Leave them out.",
      },
    );
}
