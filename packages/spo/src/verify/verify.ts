import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  addLora,
  type Case,
  type Cases,
  type Check,
  type Conditions,
  collectCases,
  largest,
  loadUnet,
  loadVae,
  NoiseSchedule,
  openGolden,
  readJson,
  type SchedulerConfig,
  type UNet2DConditionModel,
} from "@spo/diffusion";
import {
  AdamW,
  cat,
  clipGradNorm,
  Generator,
  noGrad,
  type SafetensorsFile,
  scope,
  stack,
  type Tensor,
  tensor,
} from "@spo/torch";
import { SpmJudge } from "../judges/judge.js";
import { dpoLoss } from "../losses/dpo-loss.js";
import { relabel, spmLoss } from "../losses/spm-loss.js";
import { pairLogProbs, type SpoBatch, spoLoss } from "../losses/spo-loss.js";
import { compare } from "../resampler/compare.js";
import { type Denoiser, guidedDenoiser } from "../resampler/denoiser.js";
import type { StepPairs } from "../resampler/pairs.js";
import { resample } from "../resampler/resampler.js";
import { rewardChecks } from "../rewards/verify.js";
import { timestepSinusoid } from "../spm/clip-vision.js";
import { centreCrop, resizeShortSide, scorePixels, trainPixels } from "../spm/preprocess.js";
import { loadSpm } from "../spm/spm.js";
import { noisyPredictions } from "../spm/spm-noising.js";

const FAMILIES = ["sd15", "sdxl"] as const;
type Family = (typeof FAMILIES)[number];

/** Golden values of the method: what `spo verify` runs, and the tests. Sizes and settings are read from the files. */
export const spoChecks: Check[] = [
  { name: "SPM features, scores and taps", files: ["expected-spm.safetensors", "tiny-spm"], run: checkSpm },
  { name: "SPM pixels", files: ["spm-preprocess.safetensors", "tiny-spm"], run: checkPixels },
  { name: "SPM loss and gradients", files: ["losses-spm.safetensors", "tiny-spm"], run: checkSpmLoss },
  { name: "resampler decisions", files: ["resampler.json"], run: checkDecisions },
  { name: "AdamW and clipping", files: ["losses-adamw.safetensors"], run: checkAdamW },
  ...FAMILIES.flatMap((family): Check[] => [
    {
      name: `SPM noising, ${family}`,
      files: [`spm-noising-${family}.safetensors`, `tiny-${family}`, "tiny-spm"],
      run: (folder) => checkNoising(folder, family),
    },
    {
      name: `rollout, ${family}`,
      files: [`rollout-${family}.safetensors`, `tiny-${family}`, "tiny-spm"],
      run: (folder) => checkRollout(folder, family),
    },
    {
      name: `SPO loss and gradients, ${family}`,
      files: [`losses-spo-${family}.safetensors`, `tiny-${family}`],
      run: (folder) => checkSpoLoss(folder, family),
    },
    {
      name: `Diffusion-DPO loss and gradients, ${family}`,
      files: [`losses-dpo-${family}.safetensors`, `tiny-${family}`],
      run: (folder) => checkDpoLoss(folder, family),
    },
  ]),
  ...rewardChecks,
];

const scheduleOf = (folder: string, family: Family): NoiseSchedule =>
  new NoiseSchedule(
    readJson(join(folder, `tiny-${family}`, "scheduler", "scheduler_config.json")) as SchedulerConfig,
  );

/** Which rows of conditions a file holds, and SDXL's further ones where it has them. */
function conditionsOf(file: SafetensorsFile, context: string, pooled: string): Conditions {
  const added = file.has(pooled)
    ? { textEmbeds: file.get(pooled), timeIds: file.get("time_ids") }
    : undefined;
  return { context: file.get(context), added };
}

const denoiserOf = (
  unet: UNet2DConditionModel,
  file: SafetensorsFile,
  guidanceScale: number,
  around?: (call: () => Tensor) => Tensor,
): Denoiser =>
  guidedDenoiser({
    unet,
    conditional: conditionsOf(file, "prompt_embeds", "pooled"),
    unconditional: conditionsOf(file, "negative_prompt_embeds", "negative_pooled"),
    guidanceScale,
    around,
  });

function checkSpm(folder: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, "expected-spm.safetensors");
      const { spm } = loadSpm(join(folder, "tiny-spm"));
      const timesteps = get("timesteps").toNumbers();
      cases.near("sinusoid", timestepSinusoid(get("timesteps"), sinusoidOf(spm)), get("sinusoid"), 1e-5);
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

function checkPixels(folder: string): Case[] {
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

function checkSpmLoss(folder: string): Case[] {
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
      gradientNames(file, "grad/").map((name) => [
        name,
        parameters.get(name.replace(/^model\./, ""))?.grad,
        get(`grad/${name}`),
      ]),
      () => 1e-5,
    );
    spm.dispose();
  });
}

const gradientNames = (file: SafetensorsFile, prefix: string): string[] =>
  file.keys().flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length)] : []));

interface DecisionCases {
  cases: {
    name: string;
    scores: number[][];
    threshold: number;
    valid: boolean[];
    win_any_of: number[][];
    lose_any_of: number[][];
    margin: number[];
  }[];
  relabel: { scores: [number, number][]; threshold: number; label_0: number[]; label_1: number[] }[];
}

function checkDecisions(folder: string): Case[] {
  const { cases: given, relabel: relabelled } = JSON.parse(
    readFileSync(join(folder, "resampler.json"), "utf8"),
  ) as DecisionCases;
  return collectCases((cases) => {
    for (const { name, scores, threshold, valid, win_any_of, lose_any_of, margin } of given) {
      const found = compare(scores, threshold);
      const among = (chosen: number[], allowed: number[][]): boolean[] =>
        allowed.map((list, b) => list.includes(chosen[b] as number));
      cases.exact(`${name}: valid`, found.valid, valid);
      cases.exact(
        `${name}: win and lose`,
        [...among(found.win, win_any_of), ...among(found.lose, lose_any_of)],
        [...win_any_of, ...lose_any_of].map(() => true),
      );
      cases.near(`${name}: margin`, tensor(found.margin), tensor(margin), 1e-6);
    }
    for (const [i, { scores, threshold, label_0, label_1 }] of relabelled.entries()) {
      const [first, second] = [0, 1].map((side) => scores.map((pair) => pair[side] as number)) as [
        number[],
        number[],
      ];
      const { label0, label1 } = relabel(first, second, threshold);
      cases.exact(`relabel.${i}`, [...label0, ...label1], [...label_0, ...label_1]);
    }
  });
}

function checkAdamW(folder: string): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, "losses-adamw.safetensors");
    const settings = meta as {
      lr: number;
      betas: [number, number];
      eps: number;
      weight_decay: number;
      max_norm: number;
    };
    const steps = file.keys().filter((key) => /^norm\d+$/.test(key)).length;
    const names = gradientNames(file, "before/");
    const parameters = names.map((name) => {
      const parameter = get(`before/${name}`).clone();
      parameter.requiresGrad = true;
      return parameter;
    });
    const optimizer = new AdamW(parameters, { ...settings, weightDecay: settings.weight_decay });
    const worst = (prefix: string, actual: (i: number) => Tensor): void => {
      const errors = names.map((name, i) =>
        largest(
          noGrad(() =>
            actual(i)
              .detach()
              .sub(get(`${prefix}/${name}`)),
          ),
        ),
      );
      cases.list.push({ case: prefix, maxError: Math.max(...errors), tolerance: 5e-7 });
    };
    for (let step = 1; step <= steps; step++) {
      for (const [i, name] of names.entries())
        (parameters[i] as Tensor).grad = get(`grad${step}/${name}`).clone();
      const norm = clipGradNorm(parameters, settings.max_norm);
      optimizer.step();
      const expected = get(`norm${step}`);
      cases.near(`norm${step}`, tensor(norm), expected, 1e-6 * Math.max(1, expected.item()));
      worst(`after${step}`, (i) => parameters[i] as Tensor);
    }
    const state = optimizer.state();
    worst("exp_avg", (i) => state.get(`exp_avg.${i}`) as Tensor);
    worst("exp_avg_sq", (i) => state.get(`exp_avg_sq.${i}`) as Tensor);
    optimizer.dispose();
  });
}

function checkNoising(folder: string, family: Family): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, `spm-noising-${family}.safetensors`);
      const { guidance_scale: guidanceScale = 5, size } = meta as { guidance_scale?: number; size?: number };
      const unet = loadUnet(join(folder, `tiny-${family}`, "unet"));
      const vae = loadVae(join(folder, `tiny-${family}`, "vae"));
      const { spm, processor } = loadSpm(join(folder, "tiny-spm"));
      const timesteps = get("timesteps").toNumbers();
      const made = noisyPredictions(
        { vae, denoiser: denoiserOf(unet, file, guidanceScale), schedule: scheduleOf(folder, family) },
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

function checkRollout(folder: string, family: Family): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, `rollout-${family}.safetensors`);
      const settings = meta as {
        steps: number;
        k: number;
        divert_start_step: number;
        num_inner_step: number;
        threshold: number;
        eta: number;
        guidance_scale: number;
      };
      const { divert_start_step: firstBranch } = settings;
      const unet = loadUnet(join(folder, `tiny-${family}`, "unet"));
      const vae = loadVae(join(folder, `tiny-${family}`, "vae"));
      const { spm, processor } = loadSpm(join(folder, "tiny-spm"));
      const judge = new SpmJudge(spm, processor, () => get("preference_input_ids"));
      const { pairs, comparisons } = resample({
        denoiser: denoiserOf(unet, file, settings.guidance_scale),
        schedule: scheduleOf(folder, family),
        decode: (latents) => vae.decodeLatents(latents),
        judge,
        prepared: judge.prepareIds(get("preference_input_ids")),
        initialLatents: get("initial_latents"),
        randomness: {
          noise: (i) =>
            i < firstBranch
              ? get("noise_before").select(0, i)
              : get("noise_branch").select(0, i - firstBranch),
          choose: (comparison) => get("choices").select(0, comparison).toNumbers(),
        },
        settings: {
          steps: settings.steps,
          candidates: settings.k,
          firstBranch,
          innerSteps: settings.num_inner_step,
          threshold: settings.threshold,
          eta: settings.eta,
        },
      });
      cases.near("scores", tensor(comparisons.map(({ scores }) => scores)), get("scores"), 1e-3);
      cases.exact(
        "score_timesteps",
        comparisons.map(({ timestep }) => timestep),
        get("score_timesteps").toNumbers(),
      );
      cases.exact(
        "indices",
        comparisons.flatMap(({ win, lose }) => [...win, ...lose]),
        get("indices").toNumbers(),
      );
      cases.exact(
        "valid",
        comparisons.flatMap(({ valid }) => valid),
        get("valid").toNumbers(),
      );
      cases.exact("pair_timesteps", pairs.timesteps, get("pair_timesteps").toNumbers());
      cases.exact("pair_prompt", pairs.prompts, get("pair_prompt").toNumbers());
      cases.near("pair_latents", stack([pairs.latentsWin, pairs.latentsLose], 1), get("pair_latents"), 1e-4);
      cases.near(
        "pair_next_latents",
        stack([pairs.nextWin, pairs.nextLose], 1),
        get("pair_next_latents"),
        1e-4,
      );
      for (const model of [unet, vae, spm]) model.dispose();
    }),
  );
}

/** The UNet of a family with the adapter that a file holds; `up` may be set to 0. */
function adaptedUnet(folder: string, family: Family, file: SafetensorsFile, { fresh = false } = {}) {
  const unet = loadUnet(join(folder, `tiny-${family}`, "unet"));
  const names = gradientNames(file, "lora/");
  const rank = file.info(`lora/${names.find((name) => name.endsWith("down.weight"))}`).shape[0] as number;
  const lora = addLora(unet, { rank }, new Generator(0));
  noGrad(() => {
    for (const [name, parameter] of lora.namedParameters()) {
      if (fresh && name.endsWith("up.weight")) parameter.zero_();
      else scope(() => parameter.copy_(file.get(`lora/unet.${name}`)) && undefined);
    }
  });
  return { unet, lora };
}

const SPO_OUTPUTS = [
  ...["logp", "ref_logp", "log_ratio", "ratio"].flatMap((name) => [`${name}_w`, `${name}_l`]),
  "per_sample",
  "loss",
];

function checkSpoLoss(folder: string, family: Family): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, `losses-spo-${family}.safetensors`);
    const {
      beta,
      eps: clip,
      eta,
      guidance,
      steps,
    } = meta as { beta: number; eps: number; eta: number; guidance: number; steps: number };
    const shared = file.has("latents");
    const timesteps = get("timesteps").toNumbers();
    const pairs: StepPairs = {
      size: timesteps.length,
      timesteps,
      prompts: timesteps.map((_, i) => i),
      latentsWin: get(shared ? "latents" : "latents_w"),
      latentsLose: get(shared ? "latents" : "latents_l"),
      nextWin: get("next_latents_w"),
      nextLose: get("next_latents_l"),
      shared: timesteps.map(() => shared),
      margins: timesteps.map(() => 0),
      comparisons: timesteps.map(() => 0),
    };
    for (const prefix of ["", "init/"]) {
      const { unet, lora } = adaptedUnet(folder, family, file, { fresh: prefix === "init/" });
      const policy = denoiserOf(unet, file, guidance);
      const reference = denoiserOf(unet, file, guidance, (call) => lora.without(call));
      const batch: SpoBatch = {
        policy,
        reference,
        pairs,
        schedule: scheduleOf(folder, family),
        steps,
        eta,
        beta,
        clip,
      };
      if (prefix === "") {
        noGrad(() => {
          const predict = (denoiser: Denoiser, xt: Tensor): Tensor =>
            denoiser.forRows(pairs.prompts)(xt, get("timesteps"));
          for (const [side, xt] of shared
            ? ([["w", pairs.latentsWin]] as const)
            : ([
                ["w", pairs.latentsWin],
                ["l", pairs.latentsLose],
              ] as const)) {
            cases.near(`eps_${side}`, predict(policy, xt), get(`eps_${side}`), 1e-4);
            cases.near(`eps_ref_${side}`, predict(reference, xt), get(`eps_ref_${side}`), 1e-4);
          }
        });
      }
      const p = pairLogProbs(batch, "policy");
      const ref = noGrad(() => pairLogProbs(batch, "reference"));
      const found = spoLoss({ ...p, refWin: ref.win, refLose: ref.lose }, { beta, clip });
      found.loss.backward();
      const has = (name: string, actual: Tensor, tolerance: number): void => {
        if (file.has(prefix + name)) cases.near(prefix + name, actual, get(prefix + name), tolerance);
      };
      const ratio = (logRatio: Tensor): Tensor =>
        logRatio
          .detach()
          .exp()
          .clamp(1 - clip, 1 + clip);
      has("logp_w", p.win, 2e-5);
      has("logp_l", p.lose, 2e-5);
      has("ref_logp_w", ref.win, 2e-5);
      has("ref_logp_l", ref.lose, 2e-5);
      has("log_ratio_w", found.logRatioWin, 2e-5);
      has("log_ratio_l", found.logRatioLose, 2e-5);
      has("ratio_w", ratio(found.logRatioWin), 2e-5);
      has("ratio_l", ratio(found.logRatioLose), 2e-5);
      has("per_sample", found.perSample, 1e-4);
      has("loss", found.loss, 2e-5);
      if (prefix === "") cases.covered("log-probabilities, ratios and losses", SPO_OUTPUTS);
      checkAdapterGradients(
        cases,
        file,
        `${prefix}grad/`,
        lora.namedParameters(),
        (scale) => 1e-4 * scale + 1e-6,
      );
      lora.remove();
      unet.dispose();
    }
  });
}

function checkDpoLoss(folder: string, family: Family): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, `losses-dpo-${family}.safetensors`);
    const { unet, lora } = adaptedUnet(folder, family, file);
    const { context, added } = conditionsOf(file, "prompt_embeds", "text_embeds");
    const [noise, timesteps] = [get("noise"), get("timesteps")];
    const noisy = scheduleOf(folder, family).addNoise(get("latents"), noise, timesteps);
    const reference = noGrad(() => lora.without(() => unet.forward(noisy, timesteps, context, { added })));
    const model = unet.forward(noisy, timesteps, context, { added });
    const found = dpoLoss({ model, reference, noise, beta: meta.beta as number });
    found.loss.backward();
    const [raw, rawReference] = [found.modelLosses.mean(), found.referenceLosses.mean()];
    cases.near("noisy_latents", noisy, get("noisy_latents"), 1e-5);
    cases.near("model_pred", model, get("model_pred"), 1e-5);
    cases.near("ref_pred", reference, get("ref_pred"), 1e-5);
    cases.near("model_losses", found.modelLosses, get("model_losses"), 2e-6);
    cases.near("ref_losses", found.referenceLosses, get("ref_losses"), 2e-6);
    cases.near("inside", found.inside, get("inside"), 3e-3);
    cases.near("per_sample", found.perSample, get("per_sample"), 1e-3);
    cases.near("loss", found.loss, get("loss"), 1e-3);
    cases.near("raw_model_loss", raw, get("raw_model_loss"), 2e-6);
    cases.near("raw_ref_loss", rawReference, get("raw_ref_loss"), 2e-6);
    cases.near("implicit_acc", tensor(found.accuracy), get("implicit_acc"), 0);
    checkAdapterGradients(cases, file, "grad/", lora.namedParameters(), (scale) => 1e-3 * scale);
    lora.remove();
    unet.dispose();
  });
}

function checkAdapterGradients(
  cases: Cases,
  file: SafetensorsFile,
  prefix: string,
  parameters: ReadonlyMap<string, Tensor>,
  tolerance: (scale: number) => number,
): void {
  const names = gradientNames(file, prefix);
  cases.gradients(
    `${prefix}*`,
    names.map((name) => [name, parameters.get(name.replace(/^unet\./, ""))?.grad, file.get(prefix + name)]),
    tolerance,
  );
}
