// The published layout of a DiNa-LRM: config.json, checkpoint/backbone_lora as peft saves it, and checkpoint/rm_head.pt.
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  adapterOf,
  applyAdapter,
  checkConfig,
  disposeAdapter,
  type Lora,
  readJson,
  readLora,
  SD3Backbone,
  SD3Transformer2DModel,
  type TextToImage,
  writeLora,
} from "@spo/diffusion";
import {
  copyWeights,
  keep,
  loadWeights,
  readTorchRecord,
  requireStorable,
  scope,
  Tensor,
  UserError,
  writeFileAtomic,
  writeTorchRecord,
} from "@spo/torch";
import { DinaLrm, DinaLrmConfig } from "./dina-lrm.js";

const HEAD = join("checkpoint", "rm_head.pt");
const ADAPTER = join("checkpoint", "backbone_lora");
const CONFIG = "config.json";

/** Whether a folder holds a DiNa-LRM, or what is left of one. */
export const isDinaFolder = (folder: string): boolean =>
  [HEAD, ADAPTER].some((part) => existsSync(join(folder, part)));

/**
 * Reads a DiNa-LRM over a copy of the first blocks of the model whose latents it judges, on its device and in its dtype: a training may
 * change the model's own.
 *
 * Throws a UserError for another family, and for what is missing, damaged or does not fit.
 */
export function loadDinaLrm(folder: string, pipe: TextToImage): { module: DinaLrm; lora: Lora } {
  const { denoiser, models, family } = pipe;
  if (!(denoiser instanceof SD3Transformer2DModel))
    throw new UserError(
      `${folder} judges latents of Stable Diffusion 3.5 by its transformer, and this model is ${family.title}.`,
      { code: "DATA", hint: "Give a latent reward model of this family, or another judge." },
    );
  for (const [part, what] of [
    [HEAD, "its head"],
    [ADAPTER, "the adapter of its backbone"],
  ] as const)
    if (!existsSync(join(folder, part)))
      throw new UserError(`${folder} has no ${part}, ${what}: it is no whole latent reward model.`, {
        code: "DATA",
        hint: "Copy or download the whole folder again.",
      });
  const path = join(folder, CONFIG);
  const config = checkConfig(DinaLrmConfig, readJson(path), path);
  const { num_transformer_layers: layers } = config.model;
  if (layers >= denoiser.config.num_layers)
    throw new UserError(
      `${path}: num_transformer_layers is ${layers}, and the model's transformer has ${denoiser.config.num_layers} blocks, the last of which leaves no text.`,
      { code: "DATA", hint: "Give the model that it was trained on." },
    );
  return scope(() => {
    const backbone = new SD3Backbone(denoiser.config, layers);
    const module = new DinaLrm(config, backbone);
    const { dtype, device } = denoiser;
    loadWeights(module.reward_head, headIn(join(folder, HEAD)), {
      source: join(folder, HEAD),
      dtype,
      device,
    });
    const { adapter } = readLora(join(folder, ADAPTER), { ...models, transformer: denoiser });
    copyWeights(denoiser, backbone);
    const { transformer: lora } = applyAdapter({ transformer: backbone }, adapter, join(folder, ADAPTER));
    disposeAdapter(adapter);
    module.requiresGrad_(false);
    keep(module.parameters());
    return { module, lora: lora as Lora };
  });
}

/** The tensors of a head's file. */
const headIn = (path: string): Map<string, Tensor> =>
  new Map(
    Object.entries(readTorchRecord(path)).flatMap(([name, entry]) =>
      entry instanceof Tensor ? [[name, entry] as const] : [],
    ),
  );

/** Writes a folder that `loadDinaLrm` and the published code read. Throws a UserError (`NUMERIC`) for weights that are not finite. */
export function saveDinaLrm(folder: string, { module, lora }: { module: DinaLrm; lora: Lora }): void {
  const head = module.reward_head.namedParameters();
  requireStorable(head, { place: folder });
  writeLora(
    join(folder, ADAPTER, "adapter_model.safetensors"),
    adapterOf({ transformer: lora }),
    {
      transformer: new SD3Transformer2DModel(module.backbone.config),
    },
    { layout: "peft" },
  );
  writeTorchRecord(join(folder, HEAD), Object.fromEntries(head));
  writeFileAtomic(join(folder, CONFIG), `${JSON.stringify(module.config, null, 2)}\n`);
}
