// The example's judge of artwork as a file of one's own takes it: for `spo eval --metrics`, and for `spo compare`.
import { pixelsFromRgb } from "@spo/data/pixels";
import { featureRows, type Reward, type RgbImage, requireFiniteScores, unit } from "@spo/scorers";
import { cat, type Device, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import type { ImageJudge, ImageJudgeContext } from "spo/comparison";
import { type ArtworkJudge, loadArtworkJudge } from "./artwork-judge.js";

/** Settings of the judge. An image may be mistaken for those of the choices that it knows; without choices, for all that it knows. */
type Settings = Partial<ImageJudgeContext>;

/**
 * Makes scorers of the folder that `pretrain judge` writes: log p(the prompt's concept | image) among the choices, plus the logit of being
 * real artwork. A comparison is also told whether the likeliest choice is the prompt's. Throws as `loadArtworkJudge`.
 */
export const artworkScorer =
  (folder: string) =>
  ({ device, choices }: Settings = {}): Reward & ImageJudge => {
    const judge = loadArtworkJudge(folder, { device });
    return {
      name: "artwork",
      about: "log probability of the prompt's content plus logit of being real artwork",
      score: (images, prompts) =>
        verdictsOf(judge, pixelsOf(images, judge), prompts, judge.config.captions).map(({ score }) => score),
      features: (images) => featuresOf(judge, images),
      judge: (images, prompts) => {
        const { captions } = judge.config;
        const known = choices?.filter((choice) => captions.includes(choice)) ?? captions;
        const verdicts = verdictsOf(judge, images, prompts, known);
        const scores = verdicts.map(({ score }) => score);
        requireFiniteScores(`The judge ${folder}`, scores, prompts);
        return verdicts;
      },
      dispose: () => judge.dispose(),
    };
  };

/** Makes scorers of the same folder: 1 where the likeliest concept of all is the prompt's, else 0. Throws as `loadArtworkJudge`. */
export const onPromptScorer =
  (folder: string) =>
  ({ device }: { device?: Device } = {}): Reward => {
    const judge = loadArtworkJudge(folder, { device });
    return {
      name: "on-prompt",
      score: (images, prompts) =>
        verdictsOf(judge, pixelsOf(images, judge), prompts, judge.config.captions).map(({ onPrompt }) =>
          Number(onPrompt),
        ),
      features: (images) => featuresOf(judge, images),
      dispose: () => judge.dispose(),
    };
  };

/** images [n, 3, h, w] in [−1, 1]; choices that it knows. Throws a UserError (`DATA`) for prompts that the judge was not trained on. */
function verdictsOf(
  judge: ArtworkJudge,
  images: Tensor,
  prompts: readonly string[],
  choices: readonly string[],
): { score: number; onPrompt: boolean }[] {
  const { captions } = judge.config;
  const unknown = [...new Set(prompts)].filter((prompt) => !captions.includes(prompt));
  if (unknown.length > 0) {
    throw new UserError(`The judge of artwork does not know these prompts: ${unknown.join(", ")}.`, {
      code: "DATA",
      hint: `It knows ${captions.length} captions, as ${JSON.stringify(captions[0])}; they are in its config.json.`,
    });
  }
  return noGrad(() =>
    scope(() => {
      const all = judge.logProbs(judge.features(images));
      // Of all captions the log probabilities are those of all already.
      const among =
        choices === captions
          ? all
          : all
              .indexSelect(
                1,
                tensor(
                  choices.map((choice) => captions.indexOf(choice)),
                  { dtype: "int64", device: images.device },
                ),
              )
              .logSoftmax(-1); // [n, choices]
      const logProbs = among.toNumbers();
      const likeliest = among.argmax(-1).toNumbers();
      const realism = judge.realism(images).toNumbers();
      return prompts.map((prompt, i) => {
        const right = choices.indexOf(prompt);
        const score = (logProbs[i * choices.length + right] as number) + (realism[i] as number);
        return { score, onPrompt: likeliest[i] === right };
      });
    }),
  );
}

const featuresOf = (judge: ArtworkJudge, images: readonly RgbImage[]): number[][] =>
  noGrad(() => scope(() => featureRows(unit(judge.features(pixelsOf(images, judge))))));

/** [n, 3, h, w] in [−1, 1], where the judge is. It looks at images of one size. */
function pixelsOf(images: readonly RgbImage[], judge: ArtworkJudge): Tensor {
  const [first] = images as readonly [RgbImage];
  if (images.some(({ width, height }) => width !== first.width || height !== first.height)) {
    throw new UserError("The judge of artwork scores images of one size only.", { code: "DATA" });
  }
  return cat(images.map(pixelsFromRgb)).to({ device: judge.concept.weight.device });
}
