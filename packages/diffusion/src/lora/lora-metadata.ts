// Metadata that interfaces show and tools read: Stability's ModelSpec 1.0.1 and a minimum of kohya's ss_ fields.
// Source: sd-scripts, sai_model_spec.py.
import type { Family } from "../families/family.js";
import { predictionWord } from "../samplers/scheduler-classes.js";
import type { LoraAdapter } from "./lora-adapter.js";

/** What a user may say about an adapter. No paths and no prompts are written unless given here. */
export interface LoraDescription {
  /** Default: "LoRA". */
  title?: string;
  description?: string;
  author?: string;
  license?: string;
  tags?: string;
  usageHint?: string;
  triggerPhrase?: string;
  /** Data URL of a small picture. */
  thumbnail?: string;
  /** Default: none, so that the same adapter gives the same bytes. */
  date?: Date;
  /** Width and height in pixels that it was trained at. Default: the family's. */
  resolution?: readonly [width: number, height: number];
  /** Default: what the family's published model predicts. */
  predictionType?: "epsilon" | "v";
}

/** hash: SHA-256 of all tensor bytes of the file, in hexadecimal. */
export function loraMetadata(
  adapter: LoraAdapter,
  { metadata, published }: Family,
  hash: string,
  given: LoraDescription = {},
): Record<string, string> {
  const prediction = given.predictionType ?? predictionWord(published.scheduler);
  const { architecture, implementation, resolution, baseModelVersion } = metadata;
  const optional: Record<string, string | undefined> = {
    "modelspec.description": given.description,
    "modelspec.author": given.author,
    "modelspec.license": given.license,
    "modelspec.tags": given.tags,
    "modelspec.usage_hint": given.usageHint,
    "modelspec.trigger_phrase": given.triggerPhrase,
    "modelspec.thumbnail": given.thumbnail,
    "modelspec.date": given.date?.toISOString().slice(0, 19),
  };
  return {
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": `${architecture}/lora`,
    "modelspec.implementation": implementation,
    "modelspec.title": given.title ?? "LoRA",
    "modelspec.resolution": (given.resolution ?? resolution).join("x"),
    ...(prediction && { "modelspec.prediction_type": prediction }),
    "modelspec.hash_sha256": `0x${hash}`,
    ...Object.fromEntries(
      Object.entries(optional).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
    ss_network_module: "networks.lora",
    ss_network_dim: oneOf([...adapter.values()].map(({ down }) => down.shape[0] as number)),
    ss_network_alpha: oneOf([...adapter.values()].map(({ alpha }) => alpha)),
    ss_network_args: "{}",
    ss_base_model_version: baseModelVersion,
    ss_v2: "False",
  };
}

/** kohya's word where layers differ. */
const oneOf = (values: readonly number[]): string =>
  new Set(values).size === 1 ? String(values[0]) : "Dynamic";
