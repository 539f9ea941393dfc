// Alpha in layouts that have no tensor for it: the metadata that diffusers writes since 0.35 and reads back into peft's LoraConfig.
import { UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig } from "../config.js";
import { type LoraAdapter, splitPart } from "./lora-adapter.js";
import { patternMatcher } from "./lora-patterns.js";

const KEY = "lora_adapter_metadata";

const Numbers = z.record(z.string(), z.number()).nullish();

/** Fields of peft's LoraConfig that say rank and alpha. */
const PeftConfig = z.looseObject({
  r: z.number().nullish(),
  lora_alpha: z.number().nullish(),
  rank_pattern: Numbers,
  alpha_pattern: Numbers,
  use_rslora: z.boolean().nullish(),
});

/** Metadata that says each layer's alpha; none where every alpha is its rank, as readers then assume. parts: of the family. */
export function alphaMetadata(adapter: LoraAdapter, parts: readonly string[]): Record<string, string> {
  const ranked = [...adapter].map(([layer, { down, alpha }]) => ({
    layer,
    rank: down.shape[0] as number,
    alpha,
  }));
  if (ranked.every(({ rank, alpha }) => rank === alpha)) return {};
  const packed: Record<string, unknown> = {};
  for (const part of parts) {
    const layers = ranked
      .filter(({ layer }) => splitPart(layer)[0] === part)
      // transformers 5 has no prefix `text_model.`; peft also matches the end of a longer name.
      .map(({ layer, ...rest }) => ({ module: splitPart(layer)[1].replace(/^text_model\./, ""), ...rest }));
    if (layers.length === 0) continue;
    const rank = mostCommon(layers.map((layer) => layer.rank));
    const alpha = mostCommon(layers.map((layer) => layer.alpha));
    packed[`${part}.r`] = rank;
    packed[`${part}.lora_alpha`] = alpha;
    packed[`${part}.rank_pattern`] = Object.fromEntries(
      layers.filter((layer) => layer.rank !== rank).map((layer) => [layer.module, layer.rank]),
    );
    packed[`${part}.alpha_pattern`] = Object.fromEntries(
      layers.filter((layer) => layer.alpha !== alpha).map((layer) => [layer.module, layer.alpha]),
    );
    packed[`${part}.target_modules`] = layers.map((layer) => layer.module).sort();
  }
  return { [KEY]: JSON.stringify(packed) };
}

/** The file that peft reads in a folder, and its LoraConfig beside it. */
export const [PEFT_FILE, PEFT_CONFIG] = ["adapter_model.safetensors", "adapter_config.json"];

/** peft's LoraConfig of a denoiser's adapter, as JSON. */
export function peftConfig(adapter: LoraAdapter): string {
  const ranked = [...adapter].map(([layer, { down, alpha }]) => ({
    module: splitPart(layer)[1],
    rank: down.shape[0] as number,
    alpha,
  }));
  const rank = mostCommon(ranked.map((each) => each.rank));
  const alpha = mostCommon(ranked.map((each) => each.alpha));
  const config = {
    peft_type: "LORA",
    r: rank,
    lora_alpha: alpha,
    target_modules: ranked.map(({ module }) => module).sort(),
    rank_pattern: Object.fromEntries(
      ranked.filter((each) => each.rank !== rank).map((each) => [each.module, each.rank]),
    ),
    alpha_pattern: Object.fromEntries(
      ranked.filter((each) => each.alpha !== alpha).map((each) => [each.module, each.alpha]),
    ),
    lora_dropout: 0,
    bias: "none",
    use_rslora: false,
    use_dora: false,
    inference_mode: true,
    base_model_name_or_path: null,
    task_type: null,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** A layer's rank and alpha as a file states them; undefined where it does not. */
export interface SaidOfLayer {
  rank?: number;
  alpha?: number;
}

/**
 * Rank and alpha of a layer from the metadata of a file, or from the adapter_config.json beside it. rank: of its matrices.
 *
 * source: the file, for messages. Throws a UserError (`DATA`) for metadata that is no JSON and for an expression that is not understood.
 */
export function alphaFrom(
  metadata: Readonly<Record<string, string>>,
  adapterConfig: unknown,
  source: string,
): (layer: string, rank: number) => SaidOfLayer {
  const packed = parsed(metadata[KEY]);
  const ofPart = new Map<string, (module: string, rank: number) => SaidOfLayer>();
  return (layer, rank) => {
    const [part, module] = splitPart(layer);
    let said = ofPart.get(part);
    if (!said) {
      const fields = packed && Object.entries(packed).filter(([key]) => key.startsWith(`${part}.`));
      const config = fields?.map(([key, value]) => [key.slice(part.length + 1), value] as const);
      said = saidBy(config ? Object.fromEntries(config) : packed ? undefined : adapterConfig, source);
      ofPart.set(part, said);
    }
    return said(module, rank);
  };
}

/** Source: peft `LoraModel._create_and_replace`. */
function saidBy(config: unknown, source: string): (module: string, rank: number) => SaidOfLayer {
  if (config === undefined) return () => ({});
  const { r, lora_alpha, rank_pattern, alpha_pattern, use_rslora } = checkConfig(PeftConfig, config, source);
  const rankOf = patternMatcher(rank_pattern ?? {}, `${source}: rank_pattern`);
  const alphaOf = patternMatcher(alpha_pattern ?? {}, `${source}: alpha_pattern`);
  return (module, rank) => {
    const alpha = alphaOf(module) ?? lora_alpha ?? undefined;
    return {
      rank: rankOf(module) ?? r ?? undefined,
      // Rank-stabilised LoRA divides alpha by √rank.
      alpha: alpha !== undefined && use_rslora ? alpha * Math.sqrt(rank) : alpha,
    };
  };
}

function parsed(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`The file's metadata entry ${KEY} is not JSON.`, { code: "DATA", cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new UserError(`The file's metadata entry ${KEY} is no object.`, { code: "DATA" });
  return value as Record<string, unknown>;
}

function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return ([...counts].sort(([, a], [, b]) => b - a)[0] as [number, number])[0];
}
