// What shows a hacked judge in finished images: prompts that always get the same picture, and a common push of colours and edges.
import { keep, noGrad, scope, type Tensor } from "@spo/torch";
import { type ImageStatistics, imageStatistics, pixelDiversity } from "../recipes/training/image-drift.js";

/** Of one image. */
export interface ImageMeasures extends ImageStatistics {
  /** Mean distance to the other images of its prompt; 0 where there is no other. */
  diversity: number;
}

/** Largest side at which images are compared with each other: many large ones would fill the memory. */
const COMPARED_SIDE = 64;

/** Collects images in chunks, since those of a prompt may come in several. */
export class MeasuredImages {
  readonly #statistics: ImageStatistics[] = [];
  readonly #small: Tensor[] = [];
  readonly #prompts: string[] = [];

  /** images: [n, 3, h, w] about [−1, 1], and each one's prompt. */
  add(images: Tensor, prompts: readonly string[]): void {
    noGrad(() =>
      scope(() => {
        for (const [i, prompt] of prompts.entries()) {
          const image = images.narrow(0, i, 1);
          this.#statistics.push(imageStatistics(image));
          this.#small.push(keep(scope(() => comparable(image))));
          this.#prompts.push(prompt);
        }
      }),
    );
  }

  /** Of all images, in the order in which they came. Frees what is held of them. */
  take(): ImageMeasures[] {
    const measures = this.#statistics.map((statistics, i): ImageMeasures => {
      const others = this.#prompts.flatMap((prompt, j) =>
        j !== i && prompt === this.#prompts[i] ? [j] : [],
      );
      const distances = others.map((j) =>
        pixelDiversity([this.#small[i] as Tensor, this.#small[j] as Tensor]),
      );
      const diversity = distances.reduce((sum, distance) => sum + distance / distances.length, 0);
      return { ...statistics, diversity };
    });
    for (const image of this.#small) image.dispose();
    return measures;
  }
}

/** [1, 3, h, w] → a copy, on the CPU, of at most `COMPARED_SIDE` a side. */
function comparable(image: Tensor): Tensor {
  const [height, width] = image.shape.slice(2) as [number, number];
  const times = Math.ceil(Math.max(height, width) / COMPARED_SIDE);
  return (times > 1 ? image.avgPool2d(times) : image.clone()).to({ device: "cpu" });
}
