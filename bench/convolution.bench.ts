import { join } from "node:path";
import {
  conv2d,
  Generator,
  grad,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** [samples, channels, results, side]: of VAE and UNet of the embedded model and the benches; of Stable Diffusion 1.5; of its VAE. */
const SHAPES = [
  [8, 16, 16, 64],
  [8, 64, 64, 16],
  [32, 96, 32, 16],
  [32, 128, 128, 8],
  [32, 192, 64, 8],
  [8, 128, 128, 4],
  [32, 256, 128, 4],
  [2, 320, 320, 64],
  [2, 640, 640, 32],
  [1, 1920, 640, 32],
  [1, 1280, 1280, 16],
  [1, 2560, 1280, 16],
  [1, 1280, 1280, 8],
  [1, 128, 128, 256],
] as const;

const question: Question = {
  question: "What does a convolution 3×3 cost on maps whose channels come last?",
  peer: "torch's conv2d: libtorch's own (oneDNN) on the same maps and weights, both in channels-last order.",
  prepare: (folder) => {
    const tensors = SHAPES.flatMap(([samples, channels, results, side], i) =>
      [
        [samples, channels, side, side],
        [results, channels, 3, 3],
        [samples, results, side, side],
      ].map((shape, j): [string, Tensor] => [
        `${SHAPES[i]} ${j}`,
        randn(shape, { generator: new Generator(3 * i + j) }),
      ]),
    );
    writeSafetensors(join(folder, "maps.safetensors"), new Map(tensors), {});
  },
  cases: (folder) => {
    const maps = readSafetensors(join(folder, "maps.safetensors"));
    return SHAPES.flatMap((shape): Case[] => {
      const read = (j: number): Tensor =>
        (maps.get(`${shape} ${j}`) as Tensor).contiguous({ memoryFormat: "channels_last" });
      const [x, weight, along] = [read(0), read(1), read(2)];
      const leaf = x.clone({ memoryFormat: "channels_last" });
      leaf.requiresGrad = true;
      const forward = (): Tensor => noGrad(() => conv2d(x, weight, null, 1, 1));
      const gradient = (): Tensor =>
        grad([conv2d(leaf, weight, null, 1, 1)], [leaf], { gradients: [along] })[0] as Tensor;
      const measured = (name: string, work: () => Tensor): Case => ({
        name: `${name} [${shape}]`,
        shapes: "[samples, channels, results, side]",
        target: { of: "cpu", ratio: 1 },
        run: () => scope(() => void work()),
        result: () => scope(() => some(work())),
      });
      return [measured("forward", forward), measured("forward + gradient of the map", gradient)];
    });
  },
};
export default question;
