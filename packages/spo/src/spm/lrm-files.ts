// The published layout of latent reward models: unet/, text_encoder/, SDXL's text_encoder_2/, and state_dict.pt with the rest.
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  type CLIPTextModel,
  type CLIPTextModelWithProjection,
  checkConfig,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadUnet,
  type PlaceOptions,
  readJson,
  saveModel,
  type UNet2DConditionModel,
} from "@spo/diffusion";
import {
  type DType,
  type Linear,
  loadWeights,
  readTorchRecord,
  requireStorable,
  scope,
  Tensor,
  type TorchRecord,
  tensor,
  UserError,
  writeFileAtomic,
  writeTorchRecord,
} from "@spo/torch";
import { z } from "zod";
import { featureWidth, LatentRewardModel, PUBLISHED_LRM } from "./latent-reward-model.js";
import { LatentSpace, publishedLatentSpace } from "./latent-space.js";

const STATE = "state_dict.pt";
/** Ours: what the published layout leaves to the code that reads it. */
const CONFIG = "config.json";

const Config = z.looseObject({
  _class_name: z.literal("LatentRewardModel"),
  guidance_scale: z.number().positive().max(1000).default(PUBLISHED_LRM.guidanceScale),
  multi_scale_cfg: z.boolean().default(PUBLISHED_LRM.multiScaleCfg),
  latent_space: LatentSpace.optional(),
});

/** Whether a folder holds a latent reward model. */
export const isLrmFolder = (folder: string): boolean => existsSync(join(folder, STATE));

/** How a latent reward model is placed, and what its files do not say. */
export interface LrmOptions extends PlaceOptions {
  /** Pixels a side of one latent pixel: SDXL's UNet is told the size of images. */
  vaeFactor?: number;
}

/**
 * Reads a latent reward model in the published layout; which states count is read off the projection's width. The UNet's way up may be
 * missing: no score depends on it.
 *
 * Throws a UserError for what is missing, damaged or does not fit together.
 */
export function loadLrm(folder: string, { vaeFactor = 8, ...place }: LrmOptions = {}): LatentRewardModel {
  return scope(() => {
    const source = join(folder, STATE);
    const record = readTorchRecord(source);
    const visual = projectionIn(record, "visual_projection", source);
    const unet = loadUnet(join(folder, "unet"), { ...place, mayLackWayUp: true });
    const textEncoder = loadTextEncoder(join(folder, "text_encoder"), place);
    const second = join(folder, "text_encoder_2");
    const textEncoder2 = unet.add_embedding ? loadTextEncoderWithProjection(second, place) : undefined;
    requireTogether(folder, { unet, textEncoder, textEncoder2 });
    const [projectionDim, width] = visual.shape as [number, number];
    const [high, wide] = unet.sampleSize;
    const { guidance_scale: guidanceScale, multi_scale_cfg: multiScaleCfg } = readConfig(folder);
    const lrm = new LatentRewardModel({
      ...{ unet, textEncoder, textEncoder2, projectionDim },
      settings: { guidanceScale, multiScale: multiScaleOf(unet, width, source), multiScaleCfg },
      nativeSize: [high * vaeFactor, wide * vaeFactor],
    });
    const fill = (linear: Linear, weight: Tensor): void =>
      loadWeights(linear, new Map([["weight", weight]]), { source, dtype: "float32", ...place });
    fill(lrm.visual_projection, visual);
    if (lrm.text_projection) fill(lrm.text_projection, projectionIn(record, "text_projection", source));
    const scale = record.logit_scale;
    const value = scale instanceof Tensor && scale.numel === 1 ? scale.item() : scale;
    if (typeof value !== "number") throw incomplete(source, "logit_scale");
    lrm.logit_scale.assign(tensor(value, { dtype: unet.dtype, device: unet.device }));
    return lrm;
  });
}

/** The latent space that a folder's model was trained on: what our config says, or that of the published model of its family. */
export const latentSpaceIn = (folder: string, { text_encoder_2: second }: LatentRewardModel): LatentSpace =>
  readConfig(folder).latent_space ?? publishedLatentSpace(second ? "sdxl" : "sd15");

/**
 * Writes a folder that `loadLrm` and the published code read. dtype: of the files, default the parameters' own; space: of the latents
 * that it was trained on, default that of the published models.
 *
 * The published code unpickles `state_dict.pt`, so that is what is written. Throws a UserError (`NUMERIC`) that names weights which are not
 * finite, and then writes nothing.
 */
export function saveLrm(
  folder: string,
  lrm: LatentRewardModel,
  { dtype, space }: { dtype?: DType; space?: LatentSpace } = {},
): void {
  requireStorable(lrm.namedParameters(), { dtype, place: folder });
  const { unet, text_encoder, text_encoder_2, visual_projection, text_projection, settings } = lrm;
  saveModel(join(folder, "unet"), unet, { dtype });
  saveModel(join(folder, "text_encoder"), text_encoder, { dtype });
  if (text_encoder_2) saveModel(join(folder, "text_encoder_2"), text_encoder_2, { dtype });
  writeTorchRecord(join(folder, STATE), {
    visual_projection: { weight: visual_projection.weight },
    ...(text_projection && { text_projection: { weight: text_projection.weight } }),
    logit_scale: lrm.logit_scale.item(),
  });
  const config = {
    _class_name: "LatentRewardModel",
    guidance_scale: settings.guidanceScale,
    multi_scale: settings.multiScale,
    multi_scale_cfg: settings.multiScaleCfg,
    latent_space: space,
  };
  writeFileAtomic(join(folder, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
}

/** The published files have no config of their own, and were all trained with the same settings. */
function readConfig(folder: string): z.output<typeof Config> {
  const path = join(folder, CONFIG);
  return existsSync(path)
    ? checkConfig(Config, readJson(path), path)
    : Config.parse({ _class_name: "LatentRewardModel" });
}

function projectionIn(record: TorchRecord, name: string, source: string): Tensor {
  const entry = record[name];
  const weight = typeof entry === "object" && !(entry instanceof Tensor) ? entry.weight : undefined;
  if (weight instanceof Tensor && weight.ndim === 2) return weight;
  throw incomplete(source, `${name}.weight`);
}

const incomplete = (source: string, name: string): UserError =>
  new UserError(`${source} has no ${name}: it is no whole latent reward model.`, {
    code: "DATA",
    hint: "Give the whole folder as its training wrote it: without its projections and scale a model has no scores.",
  });

function multiScaleOf(unet: UNet2DConditionModel, width: number, source: string): boolean {
  const [all, middle] = [true, false].map((multiScale) => featureWidth(unet, { multiScale }));
  if (width === all || width === middle) return width === all;
  throw new UserError(
    `${source}: visual_projection takes ${width} numbers; the UNet beside it gives ${all}, or ${middle} of its middle alone.`,
    { code: "DATA", hint: "Give the parts of one model." },
  );
}

/** Parts of different models would score, but nothing that was ever trained. */
function requireTogether(
  folder: string,
  {
    unet,
    textEncoder,
    textEncoder2,
  }: {
    unet: UNet2DConditionModel;
    textEncoder: CLIPTextModel;
    textEncoder2?: CLIPTextModelWithProjection;
  },
): void {
  const refuse = (why: string): never => {
    throw new UserError(`${folder}: ${why}.`, { code: "DATA", hint: "Give the parts of one model." });
  };
  if (!unet.mid_block) refuse("its UNet has no middle block, which a latent reward model looks at");
  const { context, textEmbeds } = unet.conditionShapes(1) as { context: number[]; textEmbeds?: number[] };
  const width = textEncoder.config.hidden_size + (textEncoder2?.config.hidden_size ?? 0);
  if (context[1] !== width)
    refuse(`its UNet attends to states of width ${context[1]}, and its text encoder's have ${width}`);
  if (textEmbeds && textEmbeds[0] !== textEncoder2?.projectionDim)
    refuse(
      `its UNet is told text vectors of width ${textEmbeds[0]}, and text_encoder_2 gives ${textEncoder2?.projectionDim}`,
    );
}
