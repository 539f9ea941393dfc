import { join } from "node:path";
import {
  Generator,
  grad,
  lowRankLinear,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** [tokens, inputs, outputs] of small UNets' attention, and of SD1.5's. */
const SHAPES = [
  [512, 64, 64],
  [128, 128, 128],
  [8192, 320, 320],
] as const;
const RANK = 4;

const question: Question = {
  question: "What does a linear map with a LoRA of rank 4 cost?",
  peer: "torch: linear(x, W, b) + linear(linear(x, A), B), as peft's layer without dropout, on the same numbers.",
  prepare: (folder) => {
    const tensors = SHAPES.flatMap(([tokens, inputs, outputs], i): [string, Tensor][] => {
      const generator = new Generator(i);
      const draw = (name: string, shape: readonly number[]): [string, Tensor] => [
        `${SHAPES[i]} ${name}`,
        randn(shape, { generator }),
      ];
      return [
        draw("x", [tokens, inputs]),
        draw("down", [RANK, inputs]),
        draw("up", [outputs, RANK]),
        draw("weight", [outputs, inputs]),
        draw("bias", [outputs]),
        draw("along", [tokens, outputs]),
      ];
    });
    writeSafetensors(join(folder, "layers.safetensors"), new Map(tensors), {});
  },
  cases: (folder) => {
    const tensors = readSafetensors(join(folder, "layers.safetensors"));
    return SHAPES.flatMap((shape): Case[] => {
      const read = (name: string): Tensor => tensors.get(`${shape} ${name}`) as Tensor;
      const [x, down, up] = [read("x"), read("down"), read("up")];
      const base = { weight: read("weight"), bias: read("bias") };
      const along = read("along");
      const leaves = [x, down, up];
      for (const leaf of leaves) leaf.requiresGrad = true;
      const layer = (): Tensor => lowRankLinear(x, base, { down, up, factor: 1 });
      const measured = (name: string, work: () => Tensor): Case => ({
        name: `${name} [${shape}]`,
        shapes: "[tokens, inputs, outputs], rank 4",
        target: { of: "cpu", ratio: 1 },
        run: () => scope(() => void work()),
        result: () => scope(() => some(work())),
      });
      return [
        measured("forward", () => noGrad(layer)),
        measured("forward + backward", () => grad([layer()], leaves, { gradients: [along] })[1] as Tensor),
      ];
    });
  },
};
export default question;
