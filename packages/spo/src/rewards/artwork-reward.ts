// The example's judge of artwork as a scorer of finished images.
import type { PlaceOptions } from "@spo/diffusion";
import { cat, noGrad, scope, type Tensor } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { pixelsFromRgb } from "../data/pixels.js";
import { unit } from "../spm/spm.js";
import { type ArtworkJudge, loadArtworkJudge } from "./artwork-judge.js";
import { featureRows } from "./feature-rows.js";
import type { Reward, RgbImage } from "./reward.js";

/** What is asked of the judge. */
type Question = "artwork" | "on-prompt";

/**
 * `artwork`: log p(the prompt's concept | image) + logit of being real artwork. `on-prompt`: 1 where the likeliest concept is the prompt's,
 * else 0. Both among all concepts that the judge knows.
 */
class ArtworkReward implements Reward {
  readonly name: Question;
  readonly #judge: ArtworkJudge;

  constructor(name: Question, judge: ArtworkJudge) {
    this.name = name;
    this.#judge = judge;
  }

  score(images: readonly RgbImage[], prompts: readonly string[]): number[] {
    const { captions } = this.#judge.config;
    const unknown = [...new Set(prompts)].filter((prompt) => !captions.includes(prompt));
    if (unknown.length > 0) {
      throw new UserError(`The judge of artwork does not know these prompts: ${unknown.join(", ")}.`, {
        code: "DATA",
        hint: `It knows ${captions.length} captions, as ${JSON.stringify(captions[0])}; they are in its config.json.`,
      });
    }
    return noGrad(() =>
      scope(() => {
        const pixels = this.#pixelsOf(images);
        const logProbs = this.#judge.logProbs(this.#judge.features(pixels));
        if (this.name === "on-prompt") {
          const likeliest = logProbs.argmax(-1).toNumbers();
          return prompts.map((prompt, i) => Number(captions[likeliest[i] as number] === prompt));
        }
        const realism = this.#judge.realism(pixels).toNumbers();
        const flat = logProbs.toNumbers();
        return prompts.map(
          (prompt, i) =>
            (flat[i * captions.length + captions.indexOf(prompt)] as number) + (realism[i] as number),
        );
      }),
    );
  }

  features(images: readonly RgbImage[]): number[][] {
    return noGrad(() => scope(() => featureRows(unit(this.#judge.features(this.#pixelsOf(images))))));
  }

  dispose(): void {
    this.#judge.dispose();
  }

  #pixelsOf(images: readonly RgbImage[]): Tensor {
    return pixelsOf(images).to({ device: this.#judge.concept.weight.device });
  }
}

/** [n, 3, h, w] in [−1, 1]. The judge looks at images of one size. */
function pixelsOf(images: readonly RgbImage[]): Tensor {
  const [first] = images as readonly [RgbImage];
  if (images.some(({ width, height }) => width !== first.width || height !== first.height)) {
    throw new UserError("The judge of artwork scores images of one size only.", { code: "DATA" });
  }
  return cat(images.map(pixelsFromRgb));
}

/** path: the folder that `pretrain judge` writes. Throws as `loadArtworkJudge`. */
export const loadArtworkReward = (
  name: Question,
  path: string,
  options: Pick<PlaceOptions, "device"> = {},
): Reward => new ArtworkReward(name, loadArtworkJudge(path, options));
