// Each model's weights to the original naming and from it. Reading copies only what must be transposed.
import { cat, type Tensor } from "@spo/torch";
import type { AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import type { CLIPTextConfig } from "../models/clip-text.js";
import type { UNet2DConditionConfig } from "../models/unet-2d-condition.js";
import { ldmUnetNames, renamed } from "./ldm-unet-names.js";
import { ldmVaeNames, originalVaeName } from "./ldm-vae-names.js";

type Weights = ReadonlyMap<string, Tensor>;

/** Conversion of one model's weights by name. A name that neither side knows passes as it is, so that loading reports it. */
export interface LdmModel {
  fromOriginal(weights: Weights): Map<string, Tensor>;
  toOriginal(weights: Weights): Map<string, Tensor>;
}

export function ldmUnet(config: UNet2DConditionConfig): LdmModel {
  const names = ldmUnetNames(config);
  return { fromOriginal: byPrefix(inverse(names)), toOriginal: byPrefix(names) };
}

/** The original's attention has 1×1 convolutions for linear maps. Its names are read in every spelling, and written in the original's. */
export function ldmVae(config: AutoencoderKLConfig): LdmModel {
  const names = ldmVaeNames(config);
  const isMap = (name: string): boolean => /attentions\.0\.to_.*weight$/.test(name);
  return {
    fromOriginal: (weights) =>
      mapped(
        byPrefix(inverse(names))(new Map([...weights].map(([name, x]) => [originalVaeName(name), x]))),
        (name, x) => (isMap(name) && x.ndim === 4 ? x.flatten(1) : x),
      ),
    toOriginal: (weights) =>
      byPrefix(names)(mapped(weights, (name, x) => (isMap(name) ? x.unsqueeze(-1).unsqueeze(-1) : x))),
  };
}

/** transformers' own names; published files have them with the prefix `text_model.`, some old ones without. */
export function ldmText(): LdmModel {
  const bare = /^(embeddings|encoder|final_layer_norm)\./;
  return {
    fromOriginal: (weights) =>
      new Map([...weights].map(([name, x]) => [bare.test(name) ? `text_model.${name}` : name, x])),
    toOriginal: (weights) => new Map(weights),
  };
}

/**
 * open_clip's text tower: q, k and v lie one below the other in `in_proj`, and `text_projection` is [width, projection], the transpose of a
 * linear map's weight.
 */
export function openClipText(config: CLIPTextConfig): LdmModel {
  const names: [string, string][] = [
    ["text_model.embeddings.token_embedding", "token_embedding"],
    ["text_model.embeddings.position_embedding.weight", "positional_embedding"],
    ["text_model.final_layer_norm", "ln_final"],
  ];
  const layers = Array.from({ length: config.num_hidden_layers }, (_, i) => ({
    ours: `text_model.encoder.layers.${i}`,
    original: `transformer.resblocks.${i}`,
  }));
  for (const { ours, original } of layers) {
    names.push(
      [`${ours}.layer_norm1`, `${original}.ln_1`],
      [`${ours}.layer_norm2`, `${original}.ln_2`],
      [`${ours}.self_attn.out_proj`, `${original}.attn.out_proj`],
      [`${ours}.mlp.fc1`, `${original}.mlp.c_fc`],
      [`${ours}.mlp.fc2`, `${original}.mlp.c_proj`],
    );
  }
  const joined = layers.flatMap(({ ours, original }) =>
    ["weight", "bias"].map((kind) => ({
      original: `${original}.attn.in_proj_${kind}`,
      ours: ["q", "k", "v"].map((letter) => `${ours}.self_attn.${letter}_proj.${kind}`),
    })),
  );
  return {
    fromOriginal(weights) {
      const converted = byPrefix(inverse(names))(weights);
      for (const { ours, original } of joined) {
        const whole = converted.get(original);
        if (!whole || (whole.shape[0] as number) % 3 !== 0) continue;
        for (const [i, part] of whole.chunk(3, 0).entries()) converted.set(ours[i] as string, part);
        converted.delete(original);
      }
      const projection = converted.get("text_projection");
      if (projection?.ndim === 2) {
        converted.set("text_projection.weight", projection.transpose(0, 1).contiguous());
        converted.delete("text_projection");
      }
      return converted;
    },
    toOriginal(weights) {
      const converted = byPrefix(names)(weights);
      for (const { ours, original } of joined) {
        converted.set(
          original,
          cat(
            ours.map((name) => weights.get(name) as Tensor),
            0,
          ),
        );
        for (const name of ours) converted.delete(name);
      }
      converted.set(
        "text_projection",
        (weights.get("text_projection.weight") as Tensor).transpose(0, 1).contiguous(),
      );
      converted.delete("text_projection.weight");
      return converted;
    },
  };
}

const inverse = (names: readonly [string, string][]): [string, string][] => names.map(([a, b]) => [b, a]);

function byPrefix(names: readonly [string, string][]): (weights: Weights) => Map<string, Tensor> {
  const prefixes = new Map(names);
  return (weights) => new Map([...weights].map(([name, x]) => [renamed(name, prefixes) ?? name, x]));
}

const mapped = (weights: Weights, change: (name: string, x: Tensor) => Tensor): Map<string, Tensor> =>
  new Map([...weights].map(([name, x]) => [name, change(name, x)]));
