// Opens a preference model of whichever kind its folder holds.
import { existsSync } from "node:fs";
import {
  ClipTokenizer,
  type Conditions,
  requireKnownIds,
  requireTextFits,
  type TextToImage,
} from "@spo/diffusion";
import { type Generator, scope, type Tensor, UserError } from "@spo/torch";
import { isDinaFolder, loadDinaLrm } from "./dina-lrm-files.js";
import { DinaPreferenceModel } from "./dina-preference-model.js";
import { LatentPreferenceModel } from "./latent-preference-model.js";
import { type LatentRewardModel, type LatentRewardSettings, PUBLISHED_LRM } from "./latent-reward-model.js";
import { latentSpaceOf, requireSameSpace } from "./latent-space.js";
import { isLrmFolder, latentSpaceIn, loadLrm } from "./lrm-files.js";
import { newLrm } from "./new-lrm.js";
import { PixelPreferenceModel } from "./pixel-preference-model.js";
import type { PreferenceModel } from "./preference-model.js";
import { loadSpm, type SpmConfig, startSpm } from "./spm.js";

/** What a preference model looks at. */
export type PreferenceKind = "pixel" | "latent";

/** How a preference model that is to be trained is made, where its start is no preference model. */
export interface StartOptions {
  /** null: that of the preference model, or pixel. */
  kind?: PreferenceKind | null;
  /** Of a new latent one. */
  settings?: LatentRewardSettings;
  /** Width of its vectors, where nothing that it is made of has one. */
  width?: number;
}

/** Prompts → what the model whose samples are judged is told of them, one row each. */
export type EncodePrompts = (prompts: readonly string[]) => Conditions;

/** One kind of preference model: how its folders are known, opened and started from. */
interface Kind {
  /** Whether the folder, or file, holds one of this kind. The last kind takes what no other knows. */
  holds(path: string): boolean;
  /** Throws a UserError for what is missing, damaged or does not fit the model whose samples are judged. */
  open(path: string, pipe: TextToImage, encode?: EncodePrompts): PreferenceModel;
  /** The same for training: what the start lacks is drawn from `generator`. path null: there is no start. */
  start(path: string | null, pipe: TextToImage, generator: Generator, options: StartOptions): PreferenceModel;
}

const pixel: Kind = {
  holds: () => true,
  open: (path, pipe) => fromFiles(path, pipe, loadSpm(path, { device: pipe.denoiser.device })),
  start: (path, pipe, generator) => {
    requireScorer(path);
    return fromFiles(path, pipe, startSpm(path, generator, { device: pipe.denoiser.device }));
  },
};

const latent: Kind = {
  holds: isLrmFolder,
  open: openLatent,
  start: (path, pipe, generator, { settings = PUBLISHED_LRM, width }) => {
    if (path !== null && isLrmFolder(path)) return openLatent(path, pipe);
    if (path !== null && !existsSync(path))
      throw new UserError(`${path} does not exist.`, {
        code: "DATA",
        hint: "Give a latent reward model, or a CLIP for its text projection, or no init. The example's recipe latent.json makes one.",
      });
    const space = latentSpaceOf(pipe);
    const lrm = newLrm(pipe, { settings, clip: path, width, generator });
    return new LatentPreferenceModel(lrm, tokenizersFor(lrm, pipe, "a new latent reward model"), space);
  },
};

const dina: Kind = {
  holds: isDinaFolder,
  open: (path, pipe, encode = encoderOf(pipe)) => new DinaPreferenceModel(loadDinaLrm(path, pipe), encode),
  start: (path) => {
    throw new UserError(`${path} is a DiNa-LRM, which judges here and is not trained.`, {
      code: "CONFIG",
      hint: "Name it as the judge of train spo: --spm FOLDER. A judge to train starts from a CLIP: --init FOLDER.",
    });
  },
};

/** What the pipeline's own text encoders make of prompts. */
const encoderOf =
  (pipe: TextToImage): EncodePrompts =>
  (prompts) => {
    const [height, width] = pipe.denoiser.sampleSize;
    return pipe.encode(prompts, { size: [height * pipe.vae.factor, width * pipe.vae.factor] }).conditional;
  };

const KINDS: Readonly<Record<PreferenceKind | "dina", Kind>> = { latent, dina, pixel };

/** Throws a UserError (`CONFIG`) where one that looks at images has no scorer to start from, which can be told before a model is loaded. */
export function requireScorer(path: string | null): asserts path is string {
  if (path !== null) return;
  throw new UserError("init is missing: the scorer that the preference model starts from.", {
    code: "CONFIG",
    hint: "Give a CLIP, PickScore or a preference model: --init FOLDER. One that looks at latents needs none: --kind latent.",
  });
}

const kindOf = (path: string): keyof typeof KINDS =>
  (Object.keys(KINDS) as (keyof typeof KINDS)[]).find((kind) =>
    KINDS[kind].holds(path),
  ) as keyof typeof KINDS;

/**
 * The preference model in a folder, or in a file of weights, for samples of `pipe`, on its device.
 *
 * encode: where prompts are encoded for a kind that has no text encoders of its own; default: by the pipeline's. Throws a UserError for
 * what is missing, damaged or made for another model's samples.
 */
export const openPreferenceModel = (
  path: string,
  pipe: TextToImage,
  encode?: EncodePrompts,
): PreferenceModel => KINDS[kindOf(path)].open(path, pipe, encode);

/**
 * The same to be trained: from a preference model, which goes on where it is, or from a scorer that one can be made of; one of latents also
 * from the diffusion model alone, path null. Throws as `openPreferenceModel`, and for a start of another kind than the wanted one.
 */
export function startPreferenceModel(
  path: string | null,
  pipe: TextToImage,
  generator: Generator,
  options: StartOptions = {},
): PreferenceModel {
  const found = path === null ? "pixel" : kindOf(path);
  const held = found === "pixel" ? undefined : found;
  const kind = options.kind ?? held ?? "pixel";
  if (held && kind !== held)
    throw new UserError(`${path} holds a preference model of the kind ${held}, and kind is ${kind}.`, {
      code: "CONFIG",
      hint: `Leave kind out to go on with it, or give a scorer that one of the kind ${kind} can be made of.`,
    });
  return KINDS[kind].start(path, pipe, generator, options);
}

function fromFiles(
  path: string,
  { tokenizer, family }: TextToImage,
  { spm, processor }: ReturnType<typeof loadSpm>,
): PreferenceModel {
  if (!tokenizer) {
    throw new UserError(
      `A preference model that looks at images reads CLIP's tokens, and ${family.title} has no tokenizer of CLIP.`,
      { code: "CONFIG", hint: "Name another judge: --judge ./my-judge.ts, or a reward." },
    );
  }
  refuseOtherTokens(spm.config, path, tokenizer);
  return new PixelPreferenceModel(spm, processor, (texts) => tokenizer.encodeBatch(texts));
}

function openLatent(path: string, pipe: TextToImage): PreferenceModel {
  const space = latentSpaceOf(pipe);
  const lrm = loadLrm(path, { device: pipe.denoiser.device, vaeFactor: pipe.vae.factor });
  requireSameSpace(latentSpaceIn(path, lrm), space, path);
  return new LatentPreferenceModel(lrm, tokenizersFor(lrm, pipe, path), space);
}

/** Token ids for the text encoders of a latent reward model, by the tokenizers of the pipeline. */
function tokenizersFor(
  { text_encoder: first, text_encoder_2: second }: LatentRewardModel,
  pipe: TextToImage,
  path: string,
): (prompts: readonly string[]) => Tensor[] {
  const encoders = second ? [first, second] : [first];
  const { tokenizer, family } = pipe;
  const count = scope(() => pipe.tokenize([""]).length);
  if (!tokenizer || count < encoders.length)
    throw new UserError(
      `${path} reads the tokens of ${encoders.length} tokenizers of CLIP; ${family.title} has ${tokenizer ? count : 0}.`,
      { code: "DATA", hint: "Give a latent reward model of this family." },
    );
  // Stable Diffusion's fills up with the end token; that of 2.x, whose latents are the same, does not.
  const filled = new ClipTokenizer({ ...tokenizer.options, padToken: undefined });
  for (const encoder of encoders) requireTextFits(filled, encoder, `tokenizer, for ${path},`);
  return (prompts) =>
    second
      ? pipe.tokenize(prompts)
      : [filled.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, first))];
}

/** A preference model that was trained on other tokens would read other words. */
function refuseOtherTokens({ text_config: text }: SpmConfig, path: string, tokenizer: ClipTokenizer): void {
  const length = scope(() => tokenizer.encodeBatch([""]).shape[1] as number);
  const words = tokenizer.vocabSize;
  if (text.vocab_size === words && text.max_position_embeddings >= length) return;
  throw new UserError(
    `${path} reads ${text.vocab_size} tokens, at most ${text.max_position_embeddings} of them; the diffusion model's tokenizer has ${words}, and gives ${length}.`,
    {
      code: "DATA",
      hint: "The preference model belongs to a model with another tokenizer: train one on this model by `npx spo train spm`.",
    },
  );
}
