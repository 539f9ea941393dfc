// Scores of both images of pairs, in training and in measuring.

import { move, recolour } from "@spo/data/pixels";
import { type ScoreProcessor, trainPixels } from "@spo/scorers";
import { type Device, generatorAt, noGrad, rand, randn, scope, type Tensor } from "@spo/torch";
import type { StepAwarePreferenceModel } from "../../spm/spm.js";
import type { SeenPairs } from "./seen-pairs.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/** uint8 pixels → [−1, 1] float32. */
export const fromBytes = (bytes: Tensor, device: Device): Tensor =>
  scope(() => bytes.to({ device }).to({ dtype: "float32" }).div(127.5).sub(1));

/**
 * The same random place and size for both images of a pair; different colours and noise, so that neither being paler nor being
 * stronger is a reason to be preferred.
 */
export function augmentBoth(
  { image0, image1 }: SeenPairs,
  { augmentation, pixelNoise, seed }: Pick<TrainSpmConfig, "augmentation" | "pixelNoise" | "seed">,
  place: readonly number[],
  device: Device,
): Tensor[] {
  return scope(() => {
    const generator = generatorAt(seed, "noise", ...place);
    return [image0, image1].map((bytes, side) => {
      let x = fromBytes(bytes, device);
      if (augmentation) {
        x = move(x, generatorAt(seed, "move", ...place), augmentation); // alike for either side
        x = recolour(x, generatorAt(seed, "recolour", ...place, side), augmentation.colour);
      }
      if (pixelNoise === 0) return x;
      const spread = rand([x.shape[0] as number, 1, 1, 1], { generator, device }).mul(pixelNoise);
      return x.add(randn(x.shape, { generator, device }).mul(spread));
    });
  });
}

/** Scores of both sides of every pair, of the images as they are. ids: one row a pair. */
export function plainScores(
  spm: StepAwarePreferenceModel,
  processor: ScoreProcessor,
  seen: SeenPairs,
  ids: Tensor,
): [number[], number[]] {
  return noGrad(() =>
    scope(() => {
      const { device } = spm.logit_scale;
      const timesteps = seen.timesteps.to({ device });
      const text = spm.textFeatures(ids);
      const score = (bytes: Tensor): number[] =>
        spm
          .scores(spm.imageFeatures(trainPixels(fromBytes(bytes, device), processor), timesteps), text)
          .toNumbers();
      return [score(seen.image0), score(seen.image1)] as [number[], number[]];
    }),
  );
}
