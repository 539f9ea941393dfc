// What a training by SPO works with: model, judge, prompts, what learns.
import { basename } from "node:path";
import { fingerprintOfPrompts, readPrompts } from "@spo/data";
import type { TextToImage } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { withoutPlaces } from "@spo/records/config";
import { splitWeightedSpecs } from "@spo/scorers";
import { AdamW, type Module, noGrad, type Tensor, UserError } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import type { StepAwareJudge } from "../../judges/judge.js";
import { openJudge } from "../../judges/open-judge.js";
import { thresholdsByNoise } from "../../rollout/thresholds.js";
import { phaseTeller, type RecipeContext } from "../recipe.js";
import { readAccuracy } from "../train-spm/held-out-accuracy.js";
import { doubtfulJudge } from "../training/doubtful-settings.js";
import { Guard } from "../training/guard.js";
import { requireGuards } from "../training/guard-config.js";
import { heldOutPrompts } from "../training/held-out-prompts.js";
import { openHeldOutScorers } from "../training/held-out-scorers.js";
import { loadBase } from "../training/load-base.js";
import { makePolicy } from "../training/policy.js";
import { Precision, setUpVae } from "../training/precision.js";
import { encodeFirst, PromptCache } from "../training/prompt-cache.js";
import { requireCacheable } from "../training/prompt-cache-config.js";
import { encodePlaces, promptConditions } from "../training/prompt-conditions.js";
import { latentSizeOf } from "../training/training-side.js";
import { Update } from "../training/update.js";
import { AskedPeople } from "./ask-people.js";
import { requireHuman } from "./human-config.js";
import { Offload } from "./offload.js";
import { requireSpread } from "./step-spread.js";
import { requireAgreement, requireRollout, TrainSpoConfig } from "./train-spo-config.js";

/**
 * Loads the model, the judge and the prompts, and makes the policy and its optimizer.
 *
 * Throws UserErrors for a model, a judge or prompts that will not do.
 */
export async function setUpSpo(config: TrainSpoConfig, context: RecipeContext, given?: StepAwareJudge) {
  requirePromptEach(config, context.world);
  if (!given) requireAgreement(config);
  requireCacheable(config);
  requireHuman(config, context.world);
  const judges = splitWeightedSpecs(config.judge).map(({ spec }) => spec);
  requireGuards(config.guards, {
    samples: config.samples,
    judges: given ? [] : judges.map((judge) => (judge === "spm" ? `spm:${config.spm}` : judge)),
    hasScore: given !== undefined || !judges.some((judge) => judge === "random" || judge === "human"),
  });
  const { device } = context;
  const tell = phaseTeller(context);
  const warnings: string[] = [];
  const reading = { onWarning: (message: string) => void warnings.push(message) };
  const prompts = readPrompts(config.prompts, reading);
  tell("loading the model");
  const pipe = loadBase(config, device);
  setUpVae(pipe.vae, config);
  const latentSize = latentSizeOf(pipe, config.resolution);
  const process = pipe.process.forSampling({ latentSize, stepNoise: config.stepNoise ?? undefined });
  requireRollout(config, latentSize);
  requireSpread(process, config);
  const { threshold: min, thresholdMax: max, thresholdBy: by } = config;
  const threshold = max === null ? min : thresholdsByNoise(process, config.steps, { min, max, by });
  const latentShape = pipe.denoiser.latentShape(latentSize);
  const imageSize = imageSizeOf(pipe, latentSize);
  const decode = (latents: Tensor): Tensor => pipe.vae.decodeLatents(latents);
  const asked = config.heldOut === null ? prompts : readPrompts(config.heldOut, reading);
  const heldOut = asked.slice(0, config.samples);
  const cache =
    config.promptCache === null
      ? undefined
      : new PromptCache(config.promptCache, {
          ...{ pipe, model: config.model, configs: config.configs, size: imageSize },
        });
  if (cache) {
    tell("encoding the prompts");
    encodeFirst(pipe, { device, texts: [{ cache, prompts: [...prompts, ...heldOut] }] });
  }
  tell("loading the judge");
  // People are shown two candidates by lot: random scores choose best and worst.
  const named = config.judge === "human" ? { ...config, judge: "random" } : config;
  const encode = cache && ((texts: readonly string[]) => cache.read(texts));
  const judge = await openJudge({ ...named, encode }, pipe, latentSize, given);
  const offload = new Offload(config.offload ? [pipe.vae, ...(judge.modules ?? [])] : [], {
    ...{ device, memoryFormat: config.memoryFormat },
  });
  const meter = new WorkMeter();
  tell("encoding the prompts");
  const scorer = noGrad(() => judge.prepare(prompts, meter));
  const conditionsOf = promptConditions(pipe, prompts, imageSize, cache);
  const precision = new Precision(config, pipe);
  const policy = makePolicy(pipe, config, precision);

  const { lr, ...rest } = config.optimizer;
  const optimizer = new AdamW(policy.trained, { lr, ...rest });
  const people =
    config.human.questions > 0
      ? new AskedPeople({
          ...{
            run: context.run,
            settings: config.human,
            seed: config.seed,
            prompts,
            policy,
            process,
            decode,
          },
          ...{ device, signal: context.signal, waiting: (progress) => tell("waiting for answers", progress) },
        })
      : undefined;
  const state = { modules: policy.modules, optimizer, scaler: precision.scaler, beside: people };
  const { maxGradNorm, reduce } = config;
  const update = new Update({
    ...{ parameters: policy.trained, optimizer, maxGradNorm, precision, meter },
    ...{ world: context.world, reduce, stepsWithoutGradient: true },
  });
  const epoch = Math.ceil(prompts.length / config.promptsPerRound); // rounds that see every prompt
  // Pictures that a judge of latents does not need cost a pass and a decode a candidate: they are made only where they are asked for.
  const stripEvery = config.stripEvery ?? (scorer.sees === "latents" ? null : epoch);
  const sampleEvery = config.sampleEvery ?? config.stripEvery ?? epoch;
  const { guidanceScale, steps, seed, rounds, guards } = config;
  const heldOutScorers = await openHeldOutScorers(guards.heldOutScorers, heldOut, { pipe, latentSize, seed });
  const showHeldOut =
    heldOut.length > 0
      ? heldOutPrompts({
          ...{ prompts: heldOut, pipe, cache, policy, process, judge, decode, latentShape, imageSize },
          ...{ guidanceScale, steps, seed, device, every: sampleEvery, total: rounds, unit: "round", tell },
          ...{ heldOutScorers, imagesPerPrompt: guards.imagesPerPrompt, world: context.world },
        })
      : undefined;
  return {
    ...{ tell, warnings, meter, prompts, judge, scorer, conditionsOf, policy, process, decode },
    ...{ offload, latentShape, imageSize, update, state, people, stripEvery, sampleEvery, showHeldOut },
    /** What must be the same in every process. */
    settings: { ...settingsOf(config), reduce },
    models: { ...pipe.models, ...judgeModels(judge), ...policy.modules },
    /** Encodes the prompts of a round anew, for a policy whose text encoders learn. */
    encodingOf: (chosen: readonly number[]) =>
      encodePlaces(
        pipe,
        chosen.map((row) => prompts[row] as string),
        imageSize,
      ),
    /** Of a round. */
    rollout: { ...config, threshold },
    /** Digests of what it reads, for the log. */
    facts: { prompts: fingerprintOfPrompts(prompts), heldOut: fingerprintOfPrompts(heldOut) },
    /** What is doubtful about the preference model, as its training measured it. */
    doubt:
      judges.includes("spm") && config.spm !== null && !given
        ? doubtfulJudge(readAccuracy(config.spm) ?? {})
        : undefined,
    guard: new Guard({
      ...{ settings: guards, run: context.run, world: context.world, modules: policy.modules },
      ...{ trainingScore: "score", unit: "round" },
    }),
    /** Writes the result. */
    save: () =>
      policy.save(config.output, {
        layout: config.loraLayout,
        description: { title: "SPO", resolution: [imageSize[1], imageSize[0]] },
        metadata: { "spo.method": "spo", "spo.settings": JSON.stringify(settingsOf(config)) },
      }),
  };
}

/** The networks of a judge, by names for people. */
const judgeModels = ({ modules = [] }: StepAwareJudge): Record<string, Module> =>
  Object.fromEntries(modules.map((module, i) => [modules.length === 1 ? "judge" : `judge ${i + 1}`, module]));

/** What a training by SPO works with. */
export type SpoSetup = Awaited<ReturnType<typeof setUpSpo>>;

/** Height and width of the latents. Throws a UserError (`CONFIG`) for a size or a model that cannot be. */
const imageSizeOf = ({ vae }: TextToImage, [height, width]: readonly [number, number]): [number, number] => [
  height * vae.factor,
  width * vae.factor,
];

/** Throws a UserError (`CONFIG`) where processes would stand idle. */
function requirePromptEach({ promptsPerRound }: TrainSpoConfig, { size }: World): void {
  if (size <= promptsPerRound) return;
  throw new UserError(`promptsPerRound is ${promptsPerRound}, and here are ${size} processes.`, {
    code: "CONFIG",
    hint: "Each process samples prompts of its own: start fewer, or raise promptsPerRound.",
  });
}

/** The settings without paths of this machine: LoRA files are shared. */
function settingsOf(config: TrainSpoConfig): object {
  const { device: _, reduce: _1, guards, ...settings } = config;
  const heldOutScorers = guards.heldOutScorers.map((place) => basename(place));
  return {
    ...withoutPlaces(TrainSpoConfig, settings, ["scorer"]),
    judge: splitWeightedSpecs(config.judge)
      .map(({ spec, weight }) => `${weight === 1 ? "" : `${weight}*`}${basename(spec)}`)
      .join(","),
    guards: { ...guards, heldOutScorers },
  };
}
