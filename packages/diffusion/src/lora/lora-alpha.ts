// Alpha in layouts that have no tensor for it: the metadata that diffusers writes since 0.35 and reads back into peft's LoraConfig.
import { UserError } from "@spo/torch";
import { LORA_PARTS, type LoraAdapter, splitPart } from "./lora-adapter.js";

const KEY = "lora_adapter_metadata";

/** Fields of peft's LoraConfig that say rank and alpha. */
interface PeftConfig {
  r?: number;
  lora_alpha?: number;
  rank_pattern?: Readonly<Record<string, number>>;
  alpha_pattern?: Readonly<Record<string, number>>;
  use_rslora?: boolean;
}

/** Metadata that says each layer's alpha; none where every alpha is its rank, as readers then assume. */
export function alphaMetadata(adapter: LoraAdapter): Record<string, string> {
  const ranked = [...adapter].map(([layer, { down, alpha }]) => ({
    layer,
    rank: down.shape[0] as number,
    alpha,
  }));
  if (ranked.every(({ rank, alpha }) => rank === alpha)) return {};
  const packed: Record<string, unknown> = {};
  for (const part of LORA_PARTS) {
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

/**
 * Alpha of a layer from the metadata of a file, or from the adapter_config.json beside it; undefined where neither says one.
 *
 * Throws a UserError (`DATA`) for metadata that is no JSON.
 */
export function alphaFrom(
  metadata: Readonly<Record<string, string>>,
  adapterConfig?: unknown,
): (layer: string, rank: number) => number | undefined {
  const packed = parsed(metadata[KEY]);
  return (layer, rank) => {
    const [part, module] = splitPart(layer);
    const config = (
      packed
        ? Object.fromEntries(
            Object.entries(packed)
              .filter(([key]) => key.startsWith(`${part}.`))
              .map(([key, value]) => [key.slice(part.length + 1), value]),
          )
        : adapterConfig
    ) as PeftConfig | undefined;
    if (!config) return undefined;
    const alpha = matching(config.alpha_pattern, module) ?? config.lora_alpha;
    // Rank-stabilised LoRA divides alpha by √rank.
    return alpha !== undefined && config.use_rslora ? alpha * Math.sqrt(rank) : alpha;
  };
}

function parsed(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`The file's metadata entry ${KEY} is not JSON.`, { code: "DATA", cause: error });
  }
}

/** A pattern holds for the whole name or its end. Source: peft `get_pattern_key`; expressions other than names are not published. */
function matching(pattern: Readonly<Record<string, number>> | undefined, module: string): number | undefined {
  for (const [name, value] of Object.entries(pattern ?? {}))
    if (module === name || module.endsWith(`.${name}`)) return value;
  return undefined;
}

function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return ([...counts].sort(([, a], [, b]) => b - a)[0] as [number, number])[0];
}
