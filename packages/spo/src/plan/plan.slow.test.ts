import { CheckpointSchedule, guidedDenoiser } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { clipProcessor } from "@spo/scorers";
import { Generator, liveTensors, noGrad, randn, scope, type Tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { SpmJudge } from "../judges/spm-judge.js";
import { resample } from "../objectives/resample.js";
import { drawn } from "../rollout/randomness.js";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "../schemas.js";
import { LatentPreferenceModel } from "../spm/latent-preference-model.js";
import type { LatentRewardModel } from "../spm/latent-reward-model.js";
import { publishedLatentSpace } from "../spm/latent-space.js";
import { PixelPreferenceModel } from "../spm/pixel-preference-model.js";
import type { PreferenceModel } from "../spm/preference-model.js";
import { TINY, TINY_SPM } from "../tiny-models.fixture.js";
import { blankConditions, blankIds, lrmIds } from "./conditions.js";
import { type Job, measureJob, type Plan, planJob } from "./job.js";
import { giveValues, type PlannedModels, pipelineConfigs, planModels } from "./models.js";
import { type SamplingSettings, samplingJob } from "./sampling.js";
import { dpoJob } from "./train-dpo.js";
import { spmJob } from "./train-spm.js";
import { spoJob } from "./train-spo.js";

const families = ["sd15", "sdxl"] as const;

const sampling = { images: 4, batch: 2, steps: 5, guidanceScale: 7, latentSize: [8, 8] as const };
const spoConfig = (more: object = {}) =>
  TrainSpoConfig.parse({
    ...{ model: "m", spm: "s", prompts: "p", output: "o" },
    ...{ rounds: 1, promptsPerRound: 2, steps: 6, firstBranch: 2, candidates: 3, batch: 4, microBatch: 4 },
    ...more,
  });
const spmConfig = TrainSpmConfig.parse({
  model: "m",
  init: "i",
  pairs: ["p"],
  output: "o",
  steps: 10,
  batch: 2,
});

const taughtConfig = (more: object = {}) =>
  TrainSpmConfig.parse({
    ...{ model: "m", teacher: "t", prompts: "p", pairs: ["p"], output: "o", steps: 10, batch: 6, bank: 100 },
    ...{ noiseLevels: 3, candidates: 4, guidanceScale: 2, ...more },
  });

const dpoConfig = (more: object = {}) =>
  TrainDpoConfig.parse({
    ...{ model: "m", pairs: ["p"], output: "o", steps: 3, batch: 4, microBatch: 2, adapter: "lora" },
    ...more,
  });

const JOBS: Record<string, (models: PlannedModels) => Job> = {
  sampling: (models) => samplingJob(models, sampling),
  "SPO with a LoRA": (models) => spoJob(models, spoConfig()),
  "SPO of the whole UNet": (models) => spoJob(models, spoConfig({ adapter: "full" })),
  "SPO with inner steps": (models) => spoJob(models, spoConfig({ innerSteps: 1 })),
  "SPO in bfloat16 with gradient checkpointing": (models) => {
    models.denoiser.to({ dtype: "bfloat16" });
    return spoJob(models, spoConfig({ dtype: "bfloat16", gradientCheckpointing: true }));
  },
  "SPO of the whole UNet in float16": (models) =>
    spoJob(models, spoConfig({ dtype: "float16", adapter: "full" })),
  "a preference model": (models) => spmJob(models, spmConfig),
  "SPO by a judge of latents": (models) => spoJob(models, spoConfig({ innerSteps: 1 })),
  "a latent reward model": (models) => spmJob(models, spmConfig),
  "a latent reward model by a teacher": (models) => spmJob(models, taughtConfig()),
  "Diffusion-DPO with a LoRA": (models) => dpoJob(models, dpoConfig()),
  "Diffusion-DPO of the whole UNet": (models) => dpoJob(models, dpoConfig({ adapter: "full" })),
  "fine-tuning on winners": (models) => dpoJob(models, dpoConfig({ objective: "sft" })),
  "a preference model with gradient checkpointing": (models) =>
    spmJob(models, { ...spmConfig, gradientCheckpointing: true }),
};
/** By a latent reward model, or of one. */
const LATENT = new Set(["SPO by a judge of latents", "a latent reward model"]);
const modelsOf = (name: string, family: "sd15" | "sdxl"): PlannedModels =>
  planModels(TINY[family], {
    spm: LATENT.has(name) ? "latent" : TINY_SPM,
    student: name.endsWith("by a teacher") ? "vectors" : undefined,
  });
const planOf = (name: string, family: "sd15" | "sdxl"): Plan =>
  planJob((JOBS[name] as (typeof JOBS)[string])(modelsOf(name, family)));

describe.each(families)("of %s, each phase of", (family) => {
  test.each(Object.keys(JOBS))("%s costs the same planned twice, and leaves nothing behind", (name) => {
    const plan = planOf(name, family);
    expect(planOf(name, family)).toEqual(plan);
    for (const { name: phase, activationBytes, residentBytes, flops } of plan.phases) {
      expect(activationBytes).toBeGreaterThan(0);
      expect(residentBytes).toBeGreaterThanOrEqual(activationBytes);
      if (phase !== "optimizer") expect(flops.forward).toBeGreaterThan(0);
    }
    const largest = plan.phases.find(({ name }) => name === plan.memory.peakIn);
    expect(largest?.activationBytes).toBe(
      Math.max(...plan.phases.map(({ activationBytes }) => activationBytes)),
    );
    expect(plan.memory.peak).toBeGreaterThan(plan.memory.weights + plan.memory.optimizer);
  });

  test.each(Object.keys(JOBS))("%s runs with real numbers too, as planned, and keeps no tensor", (name) => {
    const models = giveValues(modelsOf(name, family));
    const job = (JOBS[name] as (typeof JOBS)[string])(models);
    const before = liveTensors();
    const { phases, hours } = measureJob(job, 0);
    expect(liveTensors()).toBe(before);
    expect(phases.map((phase) => phase.name)).toEqual(job.phases.map((phase) => phase.name));
    expect(hours).toBeGreaterThan(0);
  });
});

test("a training by a teacher is planned with the passes of its rollouts, and of images where there are", () => {
  const models = () => planModels(TINY.sd15, { spm: TINY_SPM, student: "vectors" });
  const passes = (more: object) => planJob(spmJob(models(), taughtConfig(more))).work.passes;
  // A rollout: 4 prompts, 2 histories of each, 4 children at each of 3 timesteps, with guidance, in pairs: 48.
  const [histories, children, rollouts] = [8, 32, 3];
  expect(passes({ pairs: [] })).toMatchObject({
    unetSampling: rollouts * 2 * (histories + 2 * children),
    vaeDecode: rollouts * 3 * children,
    judgeImage: rollouts * 3 * children + 10 * 2 * 6,
  });
  // 2 of a batch of 6 are images, and the bank keeps 100 pairs of them.
  const withImages = passes({});
  expect(withImages.vaeEncode).toBeCloseTo(200, 6);
  expect(withImages.judgeImage).toBeCloseTo(rollouts * 3 * children + 10 * 2 * 6 + 200, 6);
  // By preferences a rollout gives 36 pairs: best and worst of each history, and two histories of each prompt.
  const byPreferences = passes({ pairs: [], distill: "preferences", bank: 109 });
  expect(byPreferences.vaeDecode).toBe(4 * 3 * children);
});

test("twice the batch doubles activations and work of a step, and halves the runs", () => {
  const plan = (batch: number) =>
    planJob(samplingJob(planModels(TINY.sd15), { ...sampling, batch })).phases.find(
      ({ name }) => name === "step",
    );
  const [one, two] = [plan(1), plan(2)];
  expect((two?.activationBytes as number) / (one?.activationBytes as number)).toBeCloseTo(2, 1);
  expect((two?.flops.forward as number) / (one?.flops.forward as number)).toBeCloseTo(2, 1);
  expect((one?.runs as number) / (two?.runs as number)).toBe(2);
});

test("decoding by tiles, and one image at a time, takes less memory and is as many passes", () => {
  const decode = (options: SamplingSettings["decode"]) => {
    const { phases } = planJob(
      samplingJob(planModels(TINY.sd15), { ...sampling, latentSize: [64, 64], decode: options }),
    );
    return phases.find(({ name }) => name === "decode") as Plan["phases"][number];
  };
  const [whole, sliced, tiled] = [decode({}), decode({ chunk: 1 }), decode({ chunk: 1, tiling: true })];
  expect(sliced.activationBytes).toBeLessThan(0.7 * whole.activationBytes);
  expect(tiled.activationBytes).toBeLessThan(0.7 * sliced.activationBytes);
  expect([sliced.passes, tiled.passes]).toEqual([whole.passes, whole.passes]);
});

test("a rollout in which no step branches is refused, as by the training", () => {
  const models = planModels(TINY.sd15, { spm: TINY_SPM });
  expect(() => spoJob(models, spoConfig({ firstBranch: 6 }))).toThrow(
    expect.objectContaining({
      code: "CONFIG",
      message: expect.stringContaining("no step would branch") as string,
    }),
  );
});

test("noise blocks that do not fit the latents are refused, as by the training", () => {
  const models = planModels(TINY.sd15, { spm: TINY_SPM });
  expect(() => spoJob(models, spoConfig({ noiseBlock: 5 }))).toThrow(
    expect.objectContaining({
      code: "CONFIG",
      message: expect.stringContaining("no whole number of such blocks") as string,
    }),
  );
});

test("half precision halves the UNet's weights", () => {
  const weights = (dtype: "float32" | "bfloat16") =>
    planJob(samplingJob(planModels(TINY.sd15, { dtype }), sampling)).memory.weights;
  const unet = planModels(TINY.sd15)
    .denoiser.parameters()
    .reduce((sum, { nbytes }) => sum + nbytes, 0);
  expect(weights("float32") - weights("bfloat16")).toBe(unet / 2);
});

test("text encoders that go before images are drawn are held for their own phase alone", () => {
  const models = planModels(TINY.sd15);
  const texts = models.texts
    .flatMap((encoder) => encoder.parameters())
    .reduce((sum, { nbytes }) => sum + nbytes, 0);
  const weights = (promptCache?: string) =>
    planJob(samplingJob(models, { ...sampling, batch: 64, images: 64, promptCache })).memory.weights; // so many that drawing needs the most
  expect(weights() - weights("prompts")).toBe(texts);
});

test("of text encoders that go a CPU holds all while they read, another device the largest alone", () => {
  const models = planModels(TINY.sdxl);
  const each = models.texts.map((encoder) =>
    encoder.parameters().reduce((sum, { nbytes }) => sum + nbytes, 0),
  );
  const held = (device: string, promptCache?: string) =>
    samplingJob(models, { ...sampling, promptCache, device }).phases[0]?.before;
  expect(held("cpu", "prompts")).toBe(each.reduce((sum, bytes) => sum + bytes));
  expect(held("cuda", "prompts")).toBe(Math.max(...each));
  expect(held("cuda")).toBe(0);
});

test("8 bits take a quarter of the blocks' weights and a scale a row, and stand beside a LoRA alone", () => {
  const plan = (more: object, baseDtype: "int8" | null) =>
    planJob(spoJob(planModels(TINY.sd15, { spm: TINY_SPM, baseDtype }), spoConfig({ ...more, baseDtype })));
  const [plain, small] = [plan({}, null), plan({}, "int8")];
  const weights = [...planModels(TINY.sd15, { baseDtype: "int8" }).denoiser.namedParameters()];
  const saved = weights.reduce(
    (sum, [name, { dtype, numel, nbytes }]) =>
      sum + (dtype === "int8" ? 3 * numel : name.endsWith("weight_scale") ? -nbytes : 0),
    0,
  );
  expect(saved).toBeGreaterThan(0);
  expect(plain.memory.weights - small.memory.weights).toBe(saved);
  expect(small.work.flops.backward).toBe(plain.work.flops.backward);
  expect(small.work.flops.forward).toBeGreaterThan(plain.work.flops.forward); // the adapter is not merged for sampling
  expect(() => plan({ adapter: "full" }, "int8")).toThrow(expect.objectContaining({ code: "CONFIG" }));
});

test("gradient checkpointing lowers an update's activations and computes more; nothing else changes", () => {
  const plan = (gradientCheckpointing: boolean) =>
    planJob(spoJob(planModels(TINY.sd15, { spm: TINY_SPM }), spoConfig({ gradientCheckpointing })));
  const [plain, checkpointed] = [plan(false), plan(true)];
  const update = ({ phases }: Plan) => phases.find(({ name }) => name === "update") as Plan["phases"][number];
  expect(update(checkpointed).activationBytes).toBeLessThan(0.7 * update(plain).activationBytes);
  const { forward, backward } = update(plain).flops;
  expect(update(checkpointed).flops.backward).toBe(backward);
  expect(update(checkpointed).flops.forward).toBeGreaterThan(1.2 * forward);
  expect(update(checkpointed).flops.forward).toBeLessThan(1.5 * forward);
  // What an update leaves on the heap, the next round's phases find.
  const before = ({ phases }: Plan) =>
    phases
      .slice(
        0,
        phases.findIndex(({ name }) => name === "update"),
      )
      .map(({ residentBytes: _, ...rest }) => rest);
  expect(before(checkpointed)).toEqual(before(plain));
});

test("a resolution below the model's lowers the memory of every step of SPO", () => {
  const plan = (resolution: number | null) =>
    planJob(spoJob(planModels(TINY.sd15, { spm: TINY_SPM }), spoConfig({ resolution })));
  const [own, small] = [plan(null), plan(8)];
  for (const [i, { name, activationBytes }] of own.phases.entries()) {
    if (!["text", "optimizer"].includes(name))
      expect(small.phases[i]?.activationBytes).toBeLessThan(activationBytes);
  }
});

test("gradients of a batch in parts stand beside the activations of every part", () => {
  const full = (microBatch: number) =>
    planJob(dpoJob(planModels(TINY.sd15), dpoConfig({ adapter: "full", batch: 2, microBatch })));
  const update = ({ phases }: Plan) => phases.find(({ name }) => name === "update")?.activationBytes ?? 0;
  const gradients = planModels(TINY.sd15)
    .denoiser.parameters()
    .reduce((sum, { nbytes }) => sum + nbytes, 0);
  expect(update(full(1))).toBeGreaterThan(update(full(2)) / 2 + gradients / 2);
});

test("relabelling has a plain scorer beside the preference model", () => {
  const config = { ...spmConfig, relabel: { threshold: 0.1 } };
  const [plain, relabelled] = [false, true].map((relabels) =>
    planJob(spmJob(planModels(TINY.sd15, { spm: TINY_SPM, relabels }), config)),
  ) as [Plan, Plan];
  expect(relabelled.memory.weights).toBeGreaterThan(plain.memory.weights);
  expect(relabelled.phases.map(({ name }) => name)).toContain("relabelling, one side");
  expect(relabelled.work.passes.judgeImage).toBeGreaterThan(plain.work.passes.judgeImage as number);
});

test("a LoRA's optimizer is small beside that of the whole UNet, whose reference is a copy", () => {
  const [lora, full] = [
    planOf("SPO with a LoRA", "sd15").memory,
    planOf("SPO of the whole UNet", "sd15").memory,
  ];
  const unet = planModels(TINY.sd15)
    .denoiser.parameters()
    .reduce((sum, { nbytes }) => sum + nbytes, 0);
  expect(lora.optimizer).toBe(2 * lora.trained);
  expect(full.optimizer).toBe(2 * unet);
  expect(full.weights - lora.weights).toBe(unet);
});

/** The preference model of the kind that was planned. */
function preferenceModelOf(models: PlannedModels): PreferenceModel {
  if (models.spm) return new PixelPreferenceModel(models.spm, clipProcessor(16), () => blankIds(2, models));
  const ids = (texts: readonly string[]): Tensor[] => lrmIds(texts.length, models);
  return new LatentPreferenceModel(models.lrm as LatentRewardModel, ids, publishedLatentSpace("sd15"));
}

test.each([
  [0, "images", TINY_SPM],
  [1, "images", TINY_SPM],
  [3, "images", TINY_SPM],
  [0, "latents", "latent"],
  [1, "latents", "latent"],
] as const)(
  "with %i inner steps and a judge of %s the passes of a round are those that the resampler counts",
  (innerSteps, _, spm) => {
    const config = spoConfig({ innerSteps, threshold: 0 });
    const configs = TINY.sd15;
    const planned = planJob(spoJob(planModels(configs, { spm }), config)).work.passes;
    const models = giveValues(planModels(configs, { spm }));
    const judge = new SpmJudge(preferenceModelOf(models));
    const meter = new WorkMeter();
    const generator = new Generator(1);
    const denoiser = guidedDenoiser({
      model: models.denoiser,
      conditional: blankConditions(2, models),
      unconditional: blankConditions(1, models),
      guidanceScale: config.guidanceScale,
    });
    noGrad(() =>
      scope(() => {
        resample({
          denoiser,
          process: new CheckpointSchedule(configs.scheduler),
          decode: (latents) => models.vae.decodeLatents(latents),
          scorer: judge.prepare(["", ""]),
          initialLatents: randn([2, 4, 8, 8], { generator }),
          randomness: drawn(generator),
          settings: config,
          meter,
        });
      }),
    );
    const { unetSampling, vaeDecode, judgeImage } = meter.take().passes;
    expect({ vaeDecode: 0, ...planned }).toMatchObject({ unetSampling, vaeDecode, judgeImage });
  },
);

test("a prompt has as many tokens as the text encoder has places for", () => {
  const text_encoder = { ...TINY.sd15.text_encoder, max_position_embeddings: 12 };
  expect(blankIds(2, planModels({ ...TINY.sd15, text_encoder })).shape).toEqual([2, 12]);
});

test("Diffusion-DPO passes winners and losers through policy and reference, plain fine-tuning the winners alone", () => {
  const passes = (objective: "dpo" | "sft") =>
    planJob(dpoJob(planModels(TINY.sd15), dpoConfig({ objective }))).work.passes;
  const samples = 3 * 4;
  expect(passes("dpo")).toEqual({
    vaeEncode: 2 * samples,
    unetPolicy: 2 * samples,
    unetReference: 2 * samples,
    unetBackward: 2 * samples,
  });
  expect(passes("sft")).toEqual({ vaeEncode: 2 * samples, unetPolicy: samples, unetBackward: samples });
});

test.each([
  ["vaeSlicing", true, "decode", 0.7],
  ["vaeDtype", "bfloat16", "decode", 0.7],
  ["samplingBatch", 2, "sampling, all candidates", 0.7],
] as const)("SPO with %s %s needs less memory in the phase %s", (setting, value, phase, share) => {
  const plan = (more: object) =>
    planJob(spoJob(planModels(TINY.sd15, { spm: TINY_SPM }), spoConfig({ resolution: 64, ...more })));
  const activations = ({ phases }: Plan) => phases.find(({ name }) => name === phase)?.activationBytes ?? 0;
  const [plain, saving] = [plan({}), plan({ [setting]: value })];
  expect(activations(saving)).toBeLessThan(share * activations(plain));
  expect(saving.work.passes).toEqual(plain.work.passes);
});

test("with offload updates hold neither VAE nor preference model, on a GPU alone", () => {
  const models = () => planModels(TINY.sd15, { spm: TINY_SPM });
  const plan = (more: object) =>
    planJob(spoJob(models(), spoConfig({ candidates: 2, promptsPerRound: 1, samplingBatch: 1, ...more })));
  const { vae, spm } = models();
  const bytes = [vae, spm].reduce(
    (sum, model) => sum + (model?.parameters() ?? []).reduce((all, { nbytes }) => all + nbytes, 0),
    0,
  );
  const [plain, saving] = [plan({ device: "cuda" }), plan({ device: "cuda", offload: true })];
  expect(plain.memory.peakIn).toBe("update");
  const others = plain.phases.filter(({ name }) => !/update|optimizer/.test(name));
  const sampling = Math.max(...others.map(({ activationBytes }) => activationBytes));
  const inUpdate = plain.memory.activations - bytes;
  expect(saving.memory.peak).toBe(
    plain.memory.peak - plain.memory.activations + Math.max(inUpdate, sampling),
  );
  expect(plan({ offload: true })).toEqual(plan({}));
});

test("in half precision VAE and preference model hold half, but for the scale of the scores", () => {
  const weights = (spmDtype: "float32" | "bfloat16", vaeDtype: "float32" | "bfloat16") =>
    planJob(spoJob(planModels(TINY.sd15, { spm: TINY_SPM, spmDtype }), spoConfig({ vaeDtype }))).memory
      .weights;
  const { vae, spm } = planModels(TINY.sd15, { spm: TINY_SPM });
  const bytes = (of: { parameters(): Tensor[] } | undefined) =>
    of?.parameters().reduce((sum, { nbytes }) => sum + nbytes, 0) as number;
  const plain = weights("float32", "float32");
  expect(plain - weights("float32", "bfloat16")).toBe(bytes(vae) / 2);
  expect(plain - weights("bfloat16", "float32")).toBe((bytes(spm) - 4) / 2);
});

test.each([
  ["SPO", (models: PlannedModels, promptCache: string | null) => spoJob(models, spoConfig({ promptCache }))],
  [
    "Diffusion-DPO",
    (models: PlannedModels, promptCache: string | null) =>
      dpoJob(models, dpoConfig({ adapter: "lora", promptCache })),
  ],
  [
    "the preference model",
    (models: PlannedModels, promptCache: string | null) => spmJob(models, { ...spmConfig, promptCache }),
  ],
])(
  "with a prompt cache of %s text encoders are held while prompts are encoded, and nothing else is",
  (_, jobOf) => {
    const models = () => planModels(TINY.sd15, { spm: TINY_SPM });
    const plan = (promptCache: string | null) => planJob(jobOf(models(), promptCache));
    const [plain, cached] = [plan(null).memory, plan("cache").memory];
    const texts = models().texts.flatMap((text) => text.parameters());
    expect(plain.weights - cached.weights).toBe(texts.reduce((sum, { nbytes }) => sum + nbytes, 0));
    expect(cached.peak).toBe(plain.peak - plain.weights + cached.weights);
  },
);

test.each(["sd3", "flux"])("a job of %s is planned with all of its text encoders", (family) => {
  const published = pipelineConfigs(family);
  const { denoiser, pipe, conditionShapes, latentSize } = planModels(published, { dtype: "bfloat16" });
  const weights = Object.values(pipe.models).flatMap((model) => model.parameters());
  const { memory } = planJob(
    samplingJob(planModels(published, { dtype: "bfloat16" }), {
      ...sampling,
      images: 1,
      batch: 1,
      latentSize,
    }),
  );
  expect(memory.weights).toBe(weights.reduce((sum, { nbytes }) => sum + nbytes, 0));
  expect(denoiser.conditionShapes(conditionShapes.context?.[0] as number)).toEqual(conditionShapes);
  expect(conditionShapes.context?.[0]).toBe(family === "sd3" ? 77 + 256 : 512);
});

test("8-bit moments take a quarter and their scales, bfloat16 half of the weights that learn", () => {
  const config = (dtype: "float32" | "bfloat16", kind: "adamw" | "adamw8bit") => ({
    ...{ ...spmConfig, dtype, optimizer: { ...spmConfig.optimizer, kind } },
  });
  const spm = { ...TINY_SPM, text_config: { ...TINY_SPM.text_config, vocab_size: 4000 } };
  const plan = (dtype: "float32" | "bfloat16", kind: "adamw" | "adamw8bit") =>
    planJob(spmJob(planModels(TINY.sd15, { spm, spmDtype: dtype }), config(dtype, kind))).memory;
  const [plain, eight, half] = [
    plan("float32", "adamw"),
    plan("float32", "adamw8bit"),
    plan("bfloat16", "adamw8bit"),
  ];
  expect(eight.weights).toBe(plain.weights);
  expect(eight.optimizer).toBeLessThan(0.5 * plain.optimizer); // small parameters keep float32
  expect(half.optimizer).toBe(eight.optimizer);
  expect(plain.weights - half.weights).toBe((plain.optimizer / 2 - 4) / 2);
});
