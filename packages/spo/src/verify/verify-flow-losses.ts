// Losses of SPO and Diffusion-DPO on flow models, with the gradients of an adapter, and a rollout.
import { join } from "node:path";
import {
  addLora,
  type Case,
  type Check,
  collectCases,
  type Denoiser,
  type FlowConfig,
  FlowSchedule,
  flowGridOf,
  guidedDenoiser,
  loadFlowTransformer,
  loadVae,
  openGolden,
  readJsonObject,
} from "@spo/diffusion";
import { Generator, noGrad, type SafetensorsFile, scope, stack, type Tensor, tensor } from "@spo/torch";
import { SpmJudge } from "../judges/spm-judge.js";
import { dpoLoss } from "../objectives/dpo-loss.js";
import { resample } from "../objectives/resample.js";
import { pairLogProbs, type SpoBatch, spoLoss } from "../objectives/spo-loss.js";
import type { StepPairs } from "../objectives/step-pairs.js";
import { PixelPreferenceModel } from "../spm/pixel-preference-model.js";
import { loadSpm } from "../spm/spm.js";
import { namesUnder } from "./golden-inputs.js";

/** The checks of the method on flow models. */
export const flowChecks: readonly Check[] = [
  ...["sd3", "sd35", "flux"].flatMap((family): Check[] => [
    {
      name: `SPO loss and gradients, ${family}`,
      files: [`losses-spo-${family}.safetensors`, `tiny-${family}`],
      optional: `losses-spo-${family}.safetensors`,
      run: (folder) => checkSpoLoss(folder, family),
    },
    {
      name: `Diffusion-DPO loss and gradients, ${family}`,
      files: [`losses-dpo-${family}.safetensors`, `tiny-${family}`],
      optional: `losses-dpo-${family}.safetensors`,
      run: (folder) => checkDpoLoss(folder, family),
    },
    {
      name: `rollout, ${family}`,
      files: [`rollout-${family}.safetensors`, `tiny-${family}`],
      baseFiles: ["tiny-spm"],
      optional: `rollout-${family}.safetensors`,
      run: (folder, base) => checkRollout(folder, base, family),
    },
  ]),
];

/** A family's transformer, and its process for latents like the given ones. */
function openFlow(folder: string, family: string, { shape }: Tensor) {
  const pipeline = join(folder, `tiny-${family}`);
  const model = loadFlowTransformer(pipeline);
  const config = readJsonObject(join(pipeline, "scheduler", "scheduler_config.json")) as FlowConfig;
  const process = new FlowSchedule(config, {
    ...flowGridOf(model),
    latentSize: shape.slice(-2) as [number, number],
  });
  return { model, process };
}

type Model = ReturnType<typeof openFlow>["model"];

/** The guided denoiser of a file's prompts; without negative ones, a model that is told the guidance. */
function denoiserOf(
  model: Model,
  file: SafetensorsFile,
  guidanceScale: number,
  around?: (call: () => Tensor) => Tensor,
): Denoiser {
  const side = (context: string, pooled: string) => ({
    context: file.get(context),
    pooled: file.get(pooled),
  });
  const conditional = side("prompt_embeds", "pooled");
  const unconditional = file.has("negative_pooled")
    ? side("negative_prompt_embeds", "negative_pooled")
    : conditional;
  return guidedDenoiser({ model, conditional, unconditional, guidanceScale, around });
}

/** The adapter of a file on a model; its up weights may be 0. Gradients have the names of its weights. */
function adapterOf(model: Model, file: SafetensorsFile, { fresh = false } = {}) {
  const down = /^lora\/transformer\.(.+)\.lora_A\.weight$/;
  const targets = file.keys().flatMap((key) => down.exec(key)?.[1] ?? []);
  const rank = file.info(`lora/transformer.${targets[0]}.lora_A.weight`).shape[0] as number;
  const lora = addLora(model, { rank, targets }, new Generator(0));
  const parameters = new Map(
    [...lora.namedParameters()].map(([name, parameter]) => [
      `transformer.${name.replace("lora.down", "lora_A").replace("lora.up", "lora_B")}`,
      parameter,
    ]),
  );
  noGrad(() => {
    for (const [name, parameter] of parameters) {
      if (fresh && name.endsWith("lora_B.weight")) parameter.zero_();
      else scope(() => parameter.copy_(file.get(`lora/${name}`)) && undefined);
    }
  });
  const gradients = (prefix: string): [string, Tensor | undefined, Tensor][] =>
    namesUnder(file, prefix).map((name) => [name, parameters.get(name)?.grad, file.get(prefix + name)]);
  return { lora, gradients };
}

function checkSpoLoss(folder: string, family: string): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, `losses-spo-${family}.safetensors`);
    const settings = meta as {
      beta: number;
      eps: number;
      noise_level: number;
      guidance: number;
      steps: number;
    };
    const { beta, eps: clip, noise_level: eta, guidance, steps } = settings;
    const latents = get("latents");
    // Timesteps of the grid itself: those of the file have gone through float32.
    const grid = openFlow(folder, family, latents).process.timesteps(steps);
    const timesteps = get("step_index")
      .toNumbers()
      .map((i) => grid[i] as number);
    cases.near("timesteps", tensor(timesteps), get("timesteps"), 5e-4);
    const each = <T>(value: T): T[] => timesteps.map(() => value);
    const pairs: StepPairs = {
      size: timesteps.length,
      timesteps,
      prompts: timesteps.map((_, i) => i),
      ...{ latentsWin: latents, latentsLose: latents },
      ...{ nextWin: get("next_latents_w"), nextLose: get("next_latents_l") },
      ...{ shared: each(true), margins: each(0), comparisons: each(0) },
    };
    for (const prefix of ["", "init/"]) {
      const { model, process } = openFlow(folder, family, latents);
      const { lora, gradients } = adapterOf(model, file, { fresh: prefix === "init/" });
      const batch: SpoBatch = {
        policy: denoiserOf(model, file, guidance),
        reference: denoiserOf(model, file, guidance, (call) => lora.without(call)),
        ...{ pairs, process, steps, eta, beta, clip },
      };
      const has = (name: string, actual: Tensor, tolerance: number): void => {
        if (file.has(prefix + name)) cases.near(prefix + name, actual, get(prefix + name), tolerance);
      };
      noGrad(() => {
        const previous = timesteps.map((t) => process.previousTimestep(t, steps));
        const stepOf = (which: "policy" | "reference") => {
          const v = batch[which].forRows(pairs.prompts)(
            latents,
            tensor(timesteps, { device: latents.device }),
          );
          return { v, ...process.step(latents, v, { t: timesteps, previous, eta }) };
        };
        const [own, reference] = [stepOf("policy"), stepOf("reference")];
        has("v", own.v, 3e-4);
        has("v_ref", reference.v, 3e-4);
        has("mean", own.mean, 1e-4);
        has("mean_ref", reference.mean, 1e-4);
        has("x0", own.x0, 3e-4);
        has("std", tensor([...(own.std as readonly number[])]), 1e-5);
      });
      const p = pairLogProbs(batch, "policy");
      const ref = noGrad(() => pairLogProbs(batch, "reference"));
      const found = spoLoss({ ...p, refWin: ref.win, refLose: ref.lose }, { beta, clip });
      found.loss.backward();
      const ratio = (logRatio: Tensor): Tensor =>
        logRatio
          .detach()
          .exp()
          .clamp(1 - clip, 1 + clip);
      for (const [side, own, reference, logRatio] of [
        ["w", p.win, ref.win, found.logRatioWin],
        ["l", p.lose, ref.lose, found.logRatioLose],
      ] as const) {
        has(`logp_${side}`, own, 2e-5);
        has(`ref_logp_${side}`, reference, 2e-5);
        has(`log_ratio_${side}`, logRatio, 2e-5);
        has(`ratio_${side}`, ratio(logRatio), 2e-5);
      }
      has("per_sample", found.perSample, 1e-4);
      has("loss", found.loss, 3e-5);
      cases.gradients(`${prefix}grad/*`, gradients(`${prefix}grad/`), (scale) => 2e-4 * scale + 1e-6);
      model.dispose();
    }
    const outputs = /^(v|v_ref|mean|mean_ref|x0|std|per_sample|loss|(ref_)?logp_[wl]|(log_)?ratio_[wl])$/;
    cases.covered(
      "losses",
      file.keys().filter((key) => outputs.test(key)),
    );
  });
}

function checkDpoLoss(folder: string, family: string): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, `losses-dpo-${family}.safetensors`);
    const [latents, noise, timesteps] = [get("latents"), get("noise"), get("timesteps")];
    const { model, process } = openFlow(folder, family, latents);
    const { lora, gradients } = adapterOf(model, file);
    const conditions = { context: get("prompt_embeds"), pooled: get("pooled") };
    // The level of training at each place of the list, from the largest on.
    const levels = get("index")
      .toNumbers()
      .map((i) => process.trainingSigma(process.trainTimesteps - i));
    cases.near("sigma", tensor(levels), get("sigma"), 5e-7);
    const t = levels.map((sigma) => sigma * process.trainTimesteps);
    const noisy = process.addNoise(latents, noise, t);
    const target = process.target(latents, noise);
    const options = { guidanceScale: meta.guidance as number | undefined };
    const predict = (): Tensor => model.forward(noisy, timesteps, conditions, options);
    const reference = noGrad(() => lora.without(predict));
    const output = predict();
    const found = dpoLoss({ model: output, reference, target, beta: meta.beta as number });
    found.loss.backward();
    cases.near("noisy_latents", noisy, get("noisy_latents"), 1e-5);
    cases.near("target", target, get("target"), 1e-5);
    cases.near("model_pred", output, get("model_pred"), 2e-5);
    cases.near("ref_pred", reference, get("ref_pred"), 2e-5);
    cases.near("model_losses", found.modelLosses, get("model_losses"), 5e-6);
    cases.near("ref_losses", found.referenceLosses, get("ref_losses"), 5e-6);
    cases.near("inside", found.inside, get("inside"), 3e-3);
    cases.near("per_sample", found.perSample, get("per_sample"), 1e-3);
    cases.near("loss", found.loss, get("loss"), 1e-3);
    cases.near("implicit_acc", tensor(found.accuracy), get("implicit_acc"), 0);
    cases.gradients("grad/*", gradients("grad/"), (scale) => 1e-3 * scale);
    model.dispose();
  });
}

function checkRollout(folder: string, base: string, family: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, `rollout-${family}.safetensors`);
      const settings = meta as {
        steps: number;
        k: number;
        divert_start_step: number;
        threshold: number;
        noise_level: number;
        guidance_scale: number;
      };
      const { divert_start_step: firstBranch, steps } = settings;
      const { model, process } = openFlow(folder, family, get("initial_latents"));
      const vae = loadVae(join(folder, `tiny-${family}`, "vae"));
      const { spm, processor } = loadSpm(join(base, "tiny-spm"));
      const judge = new SpmJudge(new PixelPreferenceModel(spm, processor, () => get("preference_input_ids")));
      const { pairs, comparisons } = resample({
        denoiser: denoiserOf(model, file, settings.guidance_scale),
        process,
        decode: (latents) => vae.decodeLatents(latents),
        scorer: judge.prepare([""]), // the tokenizer has them all
        initialLatents: get("initial_latents"),
        randomness: {
          noise: (i) =>
            i < firstBranch
              ? get("noise_before").select(0, i)
              : get("noise_branch").select(0, i - firstBranch),
          choose: (comparison) => get("choices").select(0, comparison).toNumbers(),
        },
        settings: {
          ...{ steps, firstBranch, candidates: settings.k },
          ...{ threshold: settings.threshold, eta: settings.noise_level },
        },
      });
      const grid = process.timesteps(steps);
      const stepOf = (t: number): number => grid.indexOf(t);
      cases.near("timesteps", tensor(grid), get("timesteps"), 5e-4);
      cases.near("scores", tensor(comparisons.map(({ scores }) => scores)), get("scores"), 1e-3);
      const exactly: Record<string, readonly (number | boolean)[]> = {
        score_timesteps: comparisons.map(({ timestep }) => Math.round(timestep)),
        indices: comparisons.flatMap(({ win, lose }) => [...win, ...lose]),
        valid: comparisons.flatMap(({ valid }) => valid),
        pair_step: pairs.timesteps.map(stepOf),
        pair_prompt: pairs.prompts,
      };
      for (const [name, found] of Object.entries(exactly)) cases.exact(name, found, get(name).toNumbers());
      const sigmas = pairs.timesteps.map((t) => t / process.trainTimesteps);
      cases.near("pair_sigma", tensor(sigmas), get("pair_sigma"), 5e-7);
      cases.near("pair_latents", pairs.latentsWin, get("pair_latents"), 1e-4);
      const next = stack([pairs.nextWin, pairs.nextLose], 1);
      cases.near("pair_next_latents", next, get("pair_next_latents"), 1e-4);
      for (const each of [model, vae, spm]) each.dispose();
    }),
  );
}
