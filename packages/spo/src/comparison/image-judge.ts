// Judges of finished images: what a comparison chooses and reports by.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject, StableDiffusion, type StableDiffusionXL } from "@spo/diffusion";
import { type Device, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { rgbFromPixels } from "../data/pixels.js";
import { loadArtworkJudge } from "../rewards/artwork-judge.js";
import { checkedScores, loadReward, requireFiniteScores } from "../rewards/index.js";

/** What a judge says of one image. */
export interface ImageVerdict {
  prompt: string;
  seed: number;
  /** Higher is better. */
  score: number;
  /** Whether the image shows its prompt rather than another one, where the judge can tell. */
  onPrompt?: boolean;
}

export interface ImageJudge {
  /** What the score is. */
  about: string;
  /** images [n, 3, h, w] in [−1, 1], and each one's prompt. */
  judge(
    images: Tensor,
    prompts: readonly string[],
  ): Omit<ImageVerdict, "prompt" | "seed">[] | Promise<Omit<ImageVerdict, "prompt" | "seed">[]>;
}

/**
 * A judge of artwork by its folder, or any other scorer by its spec: `pickscore:PATH`, `spm:PATH`, the path of a user's module.
 *
 * pipe: its tokenizer serves scorers that come without one. choices: the prompts that an image may be mistaken for.
 */
export async function loadImageJudge(
  judge: string,
  { pipe, choices }: { pipe: StableDiffusion | StableDiffusionXL; choices: readonly string[] },
): Promise<ImageJudge> {
  return isArtworkJudge(judge) ? artworkJudge(judge, choices, deviceOf(pipe)) : rewardJudge(judge, pipe);
}

function isArtworkJudge(folder: string): boolean {
  const path = join(folder, "config.json");
  return (
    existsSync(path) && (readJsonObject(path) as { model_type?: unknown }).model_type === "artwork_judge"
  );
}

const deviceOf = ({ denoiser }: StableDiffusion | StableDiffusionXL): Device => denoiser.device;

function artworkJudge(folder: string, choices: readonly string[], device: Device): ImageJudge {
  const judge = loadArtworkJudge(folder, { device });
  const places = choices.map((choice) => judge.config.captions.indexOf(choice));
  const unknown = choices.filter((_, i) => places[i] === -1);
  if (unknown.length > 0)
    throw new UserError(`The judge ${folder} does not know these prompts: ${unknown.join(", ")}.`, {
      code: "DATA",
      hint: "Take prompts that it was trained on, or another scorer.",
    });
  return {
    about: "log probability of the prompt's content plus logit of being real artwork",
    judge: (images, prompts) =>
      noGrad(() =>
        scope(() => {
          const among = judge
            .logProbs(judge.features(images))
            .indexSelect(1, tensor(places, { dtype: "int64", device }))
            .logSoftmax(-1); // [n, choices]
          const logProbs = among.toNumbers();
          const likeliest = among.argmax(-1).toNumbers();
          const realism = judge.realism(images).toNumbers();
          const verdicts = prompts.map((prompt, i) => {
            const right = choices.indexOf(prompt);
            const score = (logProbs[i * choices.length + right] as number) + (realism[i] as number);
            return { score, onPrompt: likeliest[i] === right };
          });
          const scores = verdicts.map(({ score }) => score);
          requireFiniteScores(`The judge ${folder}`, scores, prompts);
          return verdicts;
        }),
      ),
  };
}

async function rewardJudge(spec: string, pipe: StableDiffusion | StableDiffusionXL): Promise<ImageJudge> {
  const tokenizer = pipe instanceof StableDiffusion ? pipe.tokenizer : pipe.parts.tokenizer;
  const reward = await loadReward(spec, { tokenizer, device: deviceOf(pipe) });
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
