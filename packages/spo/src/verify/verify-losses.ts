// Losses of SPO and Diffusion-DPO with the gradients of an adapter.
import { join } from "node:path";
import {
  addLora,
  type Case,
  type Cases,
  collectCases,
  type Denoiser,
  type GoldenFamily,
  loadUnet,
  openGolden,
} from "@spo/diffusion";
import { Generator, noGrad, type SafetensorsFile, scope, type Tensor, tensor } from "@spo/torch";
import { dpoLoss } from "../objectives/dpo-loss.js";
import { pairLogProbs, type SpoBatch, spoLoss } from "../objectives/spo-loss.js";
import type { StepPairs } from "../objectives/step-pairs.js";
import { conditionsOf, denoiserOf, namesUnder, processOf } from "./golden-inputs.js";

const SPO_OUTPUTS = [
  ...["logp", "ref_logp", "log_ratio", "ratio"].flatMap((name) => [`${name}_w`, `${name}_l`]),
  "per_sample",
  "loss",
];

export function checkSpoLoss(folder: string, family: GoldenFamily): Case[] {
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
        process: processOf(folder, family),
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

export function checkDpoLoss(folder: string, family: GoldenFamily): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, `losses-dpo-${family}.safetensors`);
    const { unet, lora } = adaptedUnet(folder, family, file);
    const conditions = conditionsOf(file, "prompt_embeds", "text_embeds");
    const [noise, timesteps] = [get("noise"), get("timesteps")];
    const noisy = processOf(folder, family).addNoise(get("latents"), noise, timesteps.toNumbers());
    const reference = noGrad(() => lora.without(() => unet.forward(noisy, timesteps, conditions)));
    const model = unet.forward(noisy, timesteps, conditions);
    const found = dpoLoss({ model, reference, target: noise, beta: meta.beta as number });
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

/** The UNet of a family with the adapter that a file holds; `up` may be set to 0. */
function adaptedUnet(folder: string, family: GoldenFamily, file: SafetensorsFile, { fresh = false } = {}) {
  const unet = loadUnet(join(folder, `tiny-${family}`, "unet"));
  const names = namesUnder(file, "lora/");
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

function checkAdapterGradients(
  cases: Cases,
  file: SafetensorsFile,
  prefix: string,
  parameters: ReadonlyMap<string, Tensor>,
  tolerance: (scale: number) => number,
): void {
  const names = namesUnder(file, prefix);
  cases.gradients(
    `${prefix}*`,
    names.map((name) => [name, parameters.get(name.replace(/^unet\./, ""))?.grad, file.get(prefix + name)]),
    tolerance,
  );
}
