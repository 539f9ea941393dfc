// The latent reward model: states, features, scores and loss, as the official code gives them.
import { join } from "node:path";
import {
  type Case,
  type Cases,
  collectCases,
  type GoldenFamily,
  loadTextToImage,
  openGolden,
  readJson,
} from "@spo/diffusion";
import { cat, loadWeights, noGrad, stack, type Tensor, tensor } from "@spo/torch";
import { SpmJudge } from "../judges/spm-judge.js";
import { resample } from "../objectives/resample.js";
import { spmLoss } from "../objectives/spm-loss.js";
import { compare } from "../rollout/compare.js";
import { type ThresholdBy, thresholdsByNoise } from "../rollout/thresholds.js";
import { LatentPreferenceModel } from "../spm/latent-preference-model.js";
import { LatentRewardModel, type LatentRewardSettings } from "../spm/latent-reward-model.js";
import { latentSpaceOf } from "../spm/latent-space.js";
import { loadLrm } from "../spm/lrm-files.js";
import { denoiserOf, namesUnder, processOf } from "./golden-inputs.js";

const FEATURES = 2e-5;
/**
 * Enhancement multiplies the rounding of a difference: the reference's own float32 is up to 3.6e-5 from its float64 where features reach
 * 43, and two machines' are farther apart.
 */
const ENHANCED = (scale: number): number => Math.max(FEATURES, 1e-5 * scale);
const SCORES = 2e-4;

interface Setting {
  guidance_scale: number;
  multi_scale: boolean;
  multi_scale_cfg: boolean;
}

type Golden = ReturnType<typeof openGolden>;

/** Token ids of one or two tokenizers. */
const idsIn = ({ file, get }: Golden, name: string): Tensor[] =>
  [name, `${name}_2`].filter((key) => file.has(key)).map(get);

export function checkLrm(folder: string, family: GoldenFamily): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const golden = openGolden(folder, `expected-lrm-${family}.safetensors`);
      const { get, meta } = golden;
      const {
        settings,
        stage_timestep: stageTimestep,
        native_pixels: side,
      } = meta as {
        settings: Record<string, Setting>;
        stage_timestep: number;
        native_pixels?: number;
      };
      const loaded = loadLrm(join(folder, `tiny-lrm-${family}`));
      const texts = loaded.encode(idsIn(golden, "input_ids"));
      const away = loaded.encode(idsIn(golden, "negative_input_ids"));
      const rows = texts.context.shape[0] as number;
      cases.near(
        "context",
        cat([texts.context, away.context.expand([rows, -1, -1])]),
        get("context"),
        FEATURES,
      );
      cases.near("text_features", texts.features, get("text_features"), FEATURES);
      const timesteps = get("timesteps").toNumbers();
      for (const [name, setting] of Object.entries(settings)) {
        const lrm = variant(loaded, setting, {
          projection: setting.multi_scale ? undefined : get(`visual_projection_${name}`),
          side,
        });
        const scores = (latents: Tensor, t: Tensor | number): Tensor =>
          lrm.scores(lrm.imageFeatures(latents, t, texts, away), texts.features);
        for (const [i, t] of timesteps.entries()) {
          const features = lrm.imageFeatures(get("latents"), t, texts, away);
          cases.near(`${name}/features.${i}`, features, get(`${name}/features.${i}`), ENHANCED);
          cases.near(`${name}/scores.${i}`, scores(get("latents"), t), get(`${name}/scores.${i}`), SCORES);
        }
        if (name !== "multi") continue;
        const mixed = get("mixed_timesteps");
        cases.near("mixed_scores", scores(get("latents"), mixed), get("mixed_scores"), SCORES);
        cases.near("odd_scores", scores(get("odd_latents"), mixed), get("odd_scores"), SCORES);
        checkStages(cases, golden, lrm.stages(get("latents"), stageTimestep, texts, away));
      }
      cases.covered("features, scores and stages", computed(golden));
      loaded.dispose();
    }),
  );
}

function checkStages(cases: Cases, { get }: Golden, stages: readonly Tensor[]): void {
  for (const [i, stage] of stages.entries()) {
    const name = `stages/${i === stages.length - 1 ? "mid" : i}`;
    cases.near(name, stage, get(name), FEATURES);
  }
}

/** What of a file a model computes. */
const computed = ({ file }: Golden): string[] =>
  file.keys().filter((key) => /(features|scores)(\.\d+)?$|^stages\//.test(key));

/** The same weights under other settings. projection: in place of the checkpoint's; side: in pixels, that SDXL's UNet is told. */
function variant(
  { unet, text_encoder: textEncoder, text_encoder_2: textEncoder2, ...rest }: LatentRewardModel,
  { guidance_scale: guidanceScale, multi_scale: multiScale, multi_scale_cfg: multiScaleCfg }: Setting,
  { projection, side = 0 }: { projection?: Tensor; side?: number } = {},
): LatentRewardModel {
  const settings: LatentRewardSettings = { guidanceScale, multiScale, multiScaleCfg };
  const visual = projection ?? rest.visual_projection.weight;
  const lrm = new LatentRewardModel({
    ...{ unet, textEncoder, textEncoder2, settings },
    projectionDim: visual.shape[0] as number,
    nativeSize: [side, side],
  });
  loadWeights(lrm.visual_projection, new Map([["weight", visual]]));
  if (lrm.text_projection && rest.text_projection)
    loadWeights(lrm.text_projection, rest.text_projection.namedParameters());
  lrm.logit_scale.assign(rest.logit_scale);
  return lrm;
}

/** base: has the VAEs and schedulers. */
export function checkLrmLoss(folder: string, base: string, family: GoldenFamily): Case[] {
  return collectCases((cases) => {
    const golden = openGolden(folder, `losses-lrm-${family}.safetensors`);
    const { file, get, meta } = golden;
    const pipe = loadTextToImage(join(base, `tiny-${family}`));
    const { vae, process } = pipe;
    const lrm = loadLrm(join(folder, `tiny-lrm-${family}`), { vaeFactor: vae.factor });
    for (const parameter of lrm.usedParameters().values()) parameter.requiresGrad = true;
    const [first, second] = get("timesteps").unbind(1) as [Tensor, Tensor]; // of either image
    const timesteps = cat([first, second]);
    const { latents, noisy } = noGrad(() => {
      const latents = vae.toLatents(cat([get("images_0"), get("images_1")]), get("posterior_noise"));
      return { latents, noisy: process.addNoise(latents, get("noise"), timesteps.toNumbers()) };
    });
    const texts = lrm.encode(idsIn(golden, "input_ids"));
    const away = lrm.encode(pipe.tokenize([""]));
    const twice = {
      context: cat([texts.context, texts.context]),
      features: cat([texts.features, texts.features]),
    };
    const image = lrm.imageFeatures(noisy, timesteps, twice, away);
    const [score0, score1] = lrm.scores(image, twice.features).chunk(2) as [Tensor, Tensor];
    // 1, but for pairs of one image at two times.
    const less = (meta.aux_loss_coeff as number) - 1;
    const factor = first.ne(second).mul(less).add(1);
    const found = spmLoss({
      ...{ score0, score1, label0: get("label_0"), label1: get("label_1") },
      examples: get("num_example_per_prompt"),
      factor,
    });
    found.loss.backward();
    cases.near("latents", latents, get("latents"), FEATURES);
    cases.near("noisy", noisy, get("noisy"), FEATURES);
    cases.near("text_features", texts.features, get("text_features"), FEATURES);
    cases.near("image_features", image, get("image_features"), ENHANCED);
    cases.near("score_0", score0, get("score_0"), SCORES);
    cases.near("score_1", score1, get("score_1"), SCORES);
    cases.near("per_sample", found.perSample, get("per_sample"), 1e-4);
    cases.near("weight", found.weight, get("weight"), 2e-6);
    cases.near("loss", found.loss, get("loss"), 1e-4);
    const gradients = new Map(
      [...lrm.usedParameters()].map(([name, { grad }]) => [withoutPrefix(name), grad]),
    );
    cases.gradients(
      "gradients",
      namesUnder(file, "grad/").map((name) => [
        name,
        gradients.get(withoutPrefix(name)),
        get(`grad/${name}`),
      ]),
      (scale) => 1e-4 * scale,
    );
    for (const model of [lrm, ...Object.values(pipe.models)]) model?.dispose();
  });
}

/** Newer releases of transformers name a text model's layers without it. */
const withoutPrefix = (name: string): string => name.replace(".text_model.", ".");

/** LPO's sampling. base: has the policy. */
export function checkLrmRollout(folder: string, base: string, family: GoldenFamily): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const golden = openGolden(folder, `rollout-lrm-${family}.safetensors`);
      const { file, get, meta } = golden;
      const settings = meta as {
        steps: number;
        k: number;
        eta: number;
        guidance_scale: number;
        lrm_guidance_scale: number;
        dynamic_threshold: ThresholdBy;
        threshold_min: number;
        threshold_max: number;
      };
      const { steps, eta, threshold_min: min, threshold_max: max, dynamic_threshold: by } = settings;
      const pipe = loadTextToImage(join(base, `tiny-${family}`));
      const { process } = pipe;
      const loaded = loadLrm(join(folder, `tiny-lrm-${family}`), { vaeFactor: pipe.vae.factor });
      const lrm = variant(loaded, {
        guidance_scale: settings.lrm_guidance_scale,
        multi_scale: loaded.settings.multiScale,
        multi_scale_cfg: loaded.settings.multiScaleCfg,
      });
      const tokens = (prompts: readonly string[]): Tensor[] =>
        idsIn(golden, prompts.join() === "" ? "negative_input_ids" : "input_ids");
      const judge = new SpmJudge(new LatentPreferenceModel(lrm, tokens, latentSpaceOf(pipe)));
      const thresholds = thresholdsByNoise(process, steps, { min, max, by });
      const { pairs, comparisons } = resample({
        denoiser: denoiserOf(pipe.denoiser, file, settings.guidance_scale),
        process,
        decode: () => {
          throw new Error("a judge of latents needs no decode");
        },
        scorer: judge.prepare(["all"]),
        initialLatents: get("initial_latents"),
        randomness: {
          noise: (i) => get("noises").select(0, i),
          choose: (comparison) => get("choices").select(0, comparison).toNumbers(),
        },
        settings: {
          ...{ steps, eta, candidates: settings.k, firstBranch: 0 },
          ...{ threshold: thresholds, judgeTimestep: "source" },
        },
      });
      cases.exact("timesteps", process.timesteps(steps), get("timesteps").toNumbers());
      cases.near("thresholds", tensor(thresholds), get("thresholds"), tableRounding(min, max));
      cases.near("scores", tensor(comparisons.map(({ scores }) => scores)), get("scores"), 1e-3);
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
      cases.near("pair_latents", pairs.latentsWin, get("pair_latents"), 1e-4);
      cases.near(
        "pair_next_latents",
        stack([pairs.nextWin, pairs.nextLose], 1),
        get("pair_next_latents"),
        1e-4,
      );
      for (const model of [lrm, ...Object.values(pipe.models)]) model?.dispose();
    }),
  );
}

interface CompareCases {
  sigma_table: number[];
  variance_table: number[];
  fixed_threshold: number;
  cases: {
    kind: ThresholdBy | null;
    threshold_min: number;
    threshold_max: number;
    timesteps: number[];
    scores: number[][];
    thresholds: number[];
    win: number[];
    lose: number[];
    valid: boolean[];
  }[];
}

/** Thresholds by timestep, and the decisions under them. base: has the process whose σ the tables hold. */
export function checkLrmDecisions(folder: string, base: string): Case[] {
  const given = readJson(join(folder, "lrm-compare.json")) as CompareCases;
  return collectCases((cases) => {
    const process = processOf(base, "sd15");
    const steps = given.sigma_table.length;
    const grid = process.timesteps(steps);
    for (const [by, table] of [
      ["sigma", given.sigma_table],
      ["variance", given.variance_table],
    ] as const) {
      const range = { min: Math.min(...table), max: Math.max(...table) };
      const found = thresholdsByNoise(process, steps, { ...range, by }).toReversed(); // the table is by t // stride
      cases.near(`${by} table`, tensor(found), tensor(table), 1e-4); // four digits
    }
    for (const [i, { kind, threshold_min: min, threshold_max: max, ...wanted }] of given.cases.entries()) {
      const all = kind ? thresholdsByNoise(process, steps, { min, max, by: kind }) : undefined;
      const thresholds = wanted.timesteps.map((t) => all?.[grid.indexOf(t)] ?? given.fixed_threshold);
      const found = thresholds.map((threshold, b) =>
        compare(
          wanted.scores.map((row) => [row[b] as number]),
          threshold,
        ),
      );
      const name = `${i}, ${kind ?? "fixed"}`;
      cases.near(
        `${name}: thresholds`,
        tensor(thresholds),
        tensor(wanted.thresholds),
        tableRounding(min, max),
      );
      for (const key of ["win", "lose", "valid"] as const)
        cases.exact(
          `${name}: ${key}`,
          found.flatMap((each) => each[key].map(Number)),
          wanted[key],
        );
    }
  });
}

/** How far thresholds from tables of four digits are from those of σ itself: twice half a digit over the tables' range, 0.41 and more. */
const tableRounding = (min: number, max: number): number => 2.5e-4 * (max - min);
