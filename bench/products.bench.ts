import { join } from "node:path";
import {
  Generator,
  linear,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** [tokens, inputs, outputs] of small UNets, and of SD1.5's. */
const SHAPES = [
  [256, 64, 64],
  [1024, 64, 512],
  [256, 256, 256],
  [4096, 320, 320],
  [1024, 2560, 640],
] as const;

const question: Question = {
  question: "What does a linear map cost, a product of float32 matrices?",
  peer: "torch: torch.nn.functional.linear of the same numbers, whose products are MKL's.",
  prepare: (folder) => {
    const tensors = SHAPES.flatMap(([tokens, inputs, outputs], i): [string, Tensor][] => {
      const generator = new Generator(i);
      return [
        [`${SHAPES[i]} x`, randn([tokens, inputs], { generator })],
        [`${SHAPES[i]} weight`, randn([outputs, inputs], { generator })],
        [`${SHAPES[i]} bias`, randn([outputs], { generator })],
      ];
    });
    writeSafetensors(join(folder, "layers.safetensors"), new Map(tensors), {});
  },
  cases: (folder) => {
    const tensors = readSafetensors(join(folder, "layers.safetensors"));
    return SHAPES.map((shape): Case => {
      const [x, weight, bias] = ["x", "weight", "bias"].map((name) => tensors.get(`${shape} ${name}`)) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const work = (): Tensor => noGrad(() => linear(x, weight, bias));
      return {
        name: `forward [${shape}]`,
        shapes: "[tokens, inputs, outputs]",
        target: { of: "cpu", ratio: 1.05 },
        run: () => scope(() => void work()),
        result: () => scope(() => some(work())),
      };
    });
  },
};
export default question;
