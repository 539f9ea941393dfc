// Opens a preference model of whichever kind its folder holds.
import { ClipTokenizer, requireKnownIds, requireTextFits, type TextToImage } from "@spo/diffusion";
import { type Generator, scope, type Tensor, UserError } from "@spo/torch";
import { LatentPreferenceModel } from "./latent-preference-model.js";
import type { LatentRewardModel } from "./latent-reward-model.js";
import { latentSpaceOf, requireSameSpace } from "./latent-space.js";
import { isLrmFolder, latentSpaceIn, loadLrm } from "./lrm-files.js";
import { PixelPreferenceModel } from "./pixel-preference-model.js";
import type { PreferenceModel } from "./preference-model.js";
import { loadSpm, type SpmConfig, startSpm } from "./spm.js";

/** One kind of preference model: how its folders are known, opened and started from. */
interface Kind {
  /** Whether the folder, or file, holds one of this kind. The last kind takes what no other knows. */
  holds(path: string): boolean;
  /** Throws a UserError for what is missing, damaged or does not fit the model whose samples are judged. */
  open(path: string, pipe: TextToImage): PreferenceModel;
  /** The same for training: what the start lacks is drawn from `generator`. */
  start(path: string, pipe: TextToImage, generator: Generator): PreferenceModel;
}

const pixel: Kind = {
  holds: () => true,
  open: (path, pipe) => fromFiles(path, pipe, loadSpm(path, { device: pipe.denoiser.device })),
  start: (path, pipe, generator) =>
    fromFiles(path, pipe, startSpm(path, generator, { device: pipe.denoiser.device })),
};

const latent: Kind = {
  holds: isLrmFolder,
  open: openLatent,
  start: openLatent,
};

const KINDS: readonly Kind[] = [latent, pixel];

const kindOf = (path: string): Kind => KINDS.find((kind) => kind.holds(path)) as Kind;

/**
 * The preference model in a folder, or in a file of weights, for samples of `pipe`, on its device.
 *
 * Throws a UserError for what is missing, damaged or made for another model's samples.
 */
export const openPreferenceModel = (path: string, pipe: TextToImage): PreferenceModel =>
  kindOf(path).open(path, pipe);

/** The same to be trained: from a preference model, which goes on where it is, or from a scorer that one can be made of. */
export const startPreferenceModel = (
  path: string,
  pipe: TextToImage,
  generator: Generator,
): PreferenceModel => kindOf(path).start(path, pipe, generator);

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
