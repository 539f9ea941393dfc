// What one sample pass of each kind costs in floating-point operations, found on `meta`: the same on every machine.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type FlowConditions, guidedDenoiser } from "@spo/diffusion";
import { cat, Generator, noGrad, rehearse, scope } from "@spo/torch";
import { blankConditions, blankIds, blankLatents, lrmIds } from "../plan/conditions.js";
import {
  blank,
  encodeWordless,
  type PlannedModels,
  pipelineConfigs,
  planModels,
  preferenceConfig,
} from "../plan/models.js";
import { PolicyAdapter } from "../recipes/training/policy-adapter.js";
import { isDinaFolder, loadDinaLrm } from "../spm/dina-lrm-files.js";
import type { LatentRewardModel, LatentTexts } from "../spm/latent-reward-model.js";
import { isLrmFolder } from "../spm/lrm-files.js";
import type { PolicyShape } from "./snapshot.js";
import type { FlopsOfPasses } from "./spent.js";

/** spm: folder of the preference model, or of the one that it starts from. side: of the training images, pixels. */
export function flopsOfPasses({ model, ...shape }: PolicyShape, spm: string | null): FlopsOfPasses {
  const models = (): PlannedModels =>
    planModels(pipelineConfigs(model), {
      spm: spm !== null && isPlanned(spm) ? preferenceConfig(spm) : undefined,
    });
  const frozen = models();
  const still = (fn: () => unknown): number =>
    rehearse(() => noGrad(() => scope(() => void fn()))).flops.forward;
  const predict = (of: PlannedModels) => () => {
    const conditions = blankConditions(1, of);
    const denoiser = guidedDenoiser({
      model: of.denoiser,
      conditional: conditions,
      unconditional: conditions,
      guidanceScale: 1,
    });
    return denoiser.forRows([0])(blankLatents(1, of), 500);
  };
  const learning = models();
  if (shape.adapter === "lora") new PolicyAdapter(learning.pipe, shape, () => new Generator(0));
  else learning.denoiser.requiresGrad_();
  const forward = still(predict(frozen));
  const { flops } = rehearse(() => scope(() => void predict(learning)()));
  const { vae, latentSize } = frozen;
  const [height, width] = latentSize.map((n) => n * vae.factor) as [number, number];
  return {
    unetSampling: forward,
    unetPolicy: flops.forward,
    unetReference: forward,
    unetBackward: flops.backward,
    vaeEncode: still(() => vae.encode(blank([1, 3, height, width], frozen))),
    vaeDecode: still(() => vae.decodeLatents(blankLatents(1, frozen))),
    ...(spm !== null && isDinaFolder(spm)
      ? dinaFlops(spm, frozen, still)
      : judgeFlops(frozen, learning, still)),
  };
}

/** Whether a folder holds a preference model that is planned as other models are. */
const isPlanned = (folder: string): boolean =>
  (existsSync(join(folder, "config.json")) || isLrmFolder(folder)) && !isDinaFolder(folder);

function judgeFlops(
  frozen: PlannedModels,
  learning: PlannedModels,
  still: (fn: () => unknown) => number,
): Pick<FlopsOfPasses, "judgeImage" | "judgeText" | "judgeBackward"> {
  const { spm, lrm } = frozen;
  if (lrm && learning.lrm) return latentFlops(lrm, learning.lrm, frozen, still);
  if (!spm || !learning.spm) return { judgeImage: 0, judgeText: 0, judgeBackward: 0 };
  const side = spm.config.vision_config.image_size;
  const image = blank([1, 3, side, side], frozen);
  learning.spm.requiresGrad_();
  const { flops } = rehearse(() => scope(() => void learning.spm?.imageFeatures(cat([image]), 500)));
  return {
    judgeImage: still(() => spm.imageFeatures(image, 500)),
    judgeText: still(() => spm.text_projection.forward(spm.text_model.forward(blankIds(1, frozen)).pooled)),
    judgeBackward: flops.backward,
  };
}

/** The empty text, which one call shares, is not counted: it is a row of many. */
function latentFlops(
  frozen: LatentRewardModel,
  learning: LatentRewardModel,
  models: PlannedModels,
  still: (fn: () => unknown) => number,
): Pick<FlopsOfPasses, "judgeImage" | "judgeText" | "judgeBackward"> {
  for (const parameter of learning.usedParameters().values()) parameter.requiresGrad = true;
  const look = (lrm: LatentRewardModel, texts: LatentTexts): unknown =>
    lrm.imageFeatures(blankLatents(1, models), 500, texts, texts);
  const read = (lrm: LatentRewardModel): LatentTexts => lrm.encode(lrmIds(1, models));
  const texts = rehearse(() => noGrad(() => read(frozen))).value;
  return {
    judgeImage: still(() => look(frozen, texts)),
    judgeText: still(() => read(frozen)),
    judgeBackward: rehearse(() => scope(() => void look(learning, texts))).flops.backward,
  };
}

/** A DiNa-LRM judges and does not learn. Its texts are encoded by the diffusion model's own encoders. */
function dinaFlops(
  folder: string,
  models: PlannedModels,
  still: (fn: () => unknown) => number,
): Pick<FlopsOfPasses, "judgeImage" | "judgeText" | "judgeBackward"> {
  const { module } = loadDinaLrm(folder, models.pipe);
  const texts = blankConditions(1, models) as FlowConditions;
  const encode = (n: number): number => still(() => encodeWordless(models.pipe, n));
  return {
    judgeImage: still(() => module.forward(blankLatents(1, models), 500, texts)),
    judgeText: encode(2) - encode(1), // the empty text is encoded with each
    judgeBackward: 0,
  };
}
