import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type ClipTokenizer, loadTokenizer, type PlaceOptions } from "@spo/diffusion";
import { UserError } from "@spo/torch/files";
import { loadAesthetic } from "./aesthetic.js";
import { loadClipScore, loadHps, loadPickScore } from "./clip-reward.js";
import { loadImageReward } from "./image-reward.js";
import { loadOwnReward } from "./own-reward.js";
import type { Reward } from "./reward.js";
import { parseRewardSpec, type RewardSpec } from "./reward-spec.js";

/** How a scorer is placed, and what it may borrow. */
export interface RewardLoadOptions extends PlaceOptions {
  /** For CLIP's text towers where a scorer comes without tokenizer files: that of the model whose images are scored. */
  tokenizer?: ClipTokenizer;
  /** Loads a step-aware preference model, which this package does not know: the loader of `spo`. */
  spm?: RewardLoader;
  /** What a module's function is given that makes a scorer. */
  context?: unknown;
}

/** Makes a scorer of its folder. tokenizer: that of its texts, read when it is asked for. */
export type RewardLoader = (path: string, tokenizer: () => ClipTokenizer, placing: PlaceOptions) => Reward;

/**
 * Loads a scorer of finished images.
 *
 * spec: `NAME:PATH[,OPTION=PATH…]` as on the command line, or what `parseRewardSpec` makes of it. Paths are on this machine.
 * Throws UserErrors for what is missing, damaged, of another family or does not fit.
 */
export async function loadReward(
  spec: string | RewardSpec,
  { tokenizer, spm, context, ...placing }: RewardLoadOptions = {},
): Promise<Reward> {
  const parsed = typeof spec === "string" ? parseRewardSpec(spec) : spec;
  if (parsed.kind === "own") return loadOwnReward(parsed.path, context);
  const { kind, path, options } = parsed;
  // Read after the weights: first the model must be of the right kind.
  const words = (): ClipTokenizer => clipTokenizer(kind, path, options.tokenizer, tokenizer);
  switch (kind) {
    case "pickscore":
      return loadPickScore(path, words, placing);
    case "clip":
      return loadClipScore(path, words, placing);
    case "hps":
      return loadHps(path, words, placing);
    case "imagereward":
      return loadImageReward(path, options.tokenizer, placing);
    case "aesthetic":
      return loadAesthetic(path, options.clip, placing);
    case "spm":
      if (!spm) throw new Error("loadReward was not given the loader of preference models");
      return spm(path, words, placing);
  }
}

/** The folder that the spec names, the scorer's own, `tokenizer` in it, or what the caller has. */
function clipTokenizer(
  name: string,
  path: string,
  named: string | undefined,
  fallback: ClipTokenizer | undefined,
): ClipTokenizer {
  if (named !== undefined) return loadTokenizer(named);
  const folder = existsSync(path) && !statSync(path).isDirectory() ? dirname(path) : path;
  const own = [folder, join(folder, "tokenizer")].find((place) => existsSync(join(place, "vocab.json")));
  if (own) return loadTokenizer(own);
  if (fallback) return fallback;
  throw new UserError(`${name}:${path} has no tokenizer: no vocab.json in its folder or in tokenizer/.`, {
    code: "DATA",
    hint: `Name a folder with vocab.json and merges.txt: ${name}:${path},tokenizer=FOLDER. Any of CLIP's is right, as the one of Stable Diffusion.`,
  });
}
