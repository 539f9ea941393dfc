// Judges of finished images: what a comparison chooses and reports by.

import { rgbFromPixels } from "@spo/data/pixels";
import type { TextToImage } from "@spo/diffusion";
import { checkedScores, type Reward } from "@spo/scorers";
import type { Device, Tensor } from "@spo/torch";
import { loadReward } from "../judges/load-reward.js";
import type { ImageMeasures } from "./image-measures.js";

/** What a judge says of one image. */
export interface ImageVerdict {
  prompt: string;
  seed: number;
  /** Higher is better. */
  score: number;
  /** Whether the image shows its prompt rather than another one, where the judge can tell. */
  onPrompt?: boolean;
  /** Of the image itself, whatever it is to show; in the report alone. */
  measures?: ImageMeasures;
}

/** What a judge itself says of an image. */
export type JudgedImage = Pick<ImageVerdict, "score" | "onPrompt">;

/** Judges finished images of a comparison. */
export interface ImageJudge {
  /** What the score is. */
  about: string;
  /** images [n, 3, h, w] in [−1, 1], and each one's prompt. */
  judge(images: Tensor, prompts: readonly string[]): JudgedImage[] | Promise<JudgedImage[]>;
}

/** What a file of the user's makes its judge of. */
export interface ImageJudgeContext {
  /** The prompts that an image may be mistaken for. */
  choices: readonly string[];
  device: Device;
}

/**
 * A scorer by its spec, `pickscore:PATH`, `spm:PATH`, or the path of a user's module.
 *
 * A module exports by default a scorer, or a function of an `ImageJudgeContext` that makes a scorer or an `ImageJudge`.
 * pipe: its tokenizer serves scorers that come without one. choices: the prompts that an image may be mistaken for.
 */
export async function loadImageJudge(
  judge: string,
  { pipe, choices }: { pipe: TextToImage; choices: readonly string[] },
): Promise<ImageJudge> {
  const { tokenizer } = pipe;
  const context = { choices, device: deviceOf(pipe) };
  const loaded = await loadReward(judge, { tokenizer, device: context.device, context });
  return isImageJudge(loaded) ? loaded : rewardJudge(loaded);
}

const isImageJudge = (scorer: Reward | ImageJudge): scorer is ImageJudge =>
  "judge" in scorer && typeof scorer.judge === "function";

const deviceOf = ({ denoiser }: TextToImage): Device => denoiser.device;

function rewardJudge(reward: Reward): ImageJudge {
  return {
    about: `${reward.name}'s score of the finished image`,
    async judge(images, prompts) {
      const rgb = prompts.map((_, i) => {
        using image = images.narrow(0, i, 1);
        return rgbFromPixels(image);
      });
      return (await checkedScores(reward, rgb, prompts)).map((score) => ({ score }));
    },
  };
}
