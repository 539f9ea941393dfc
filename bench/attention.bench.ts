import { join } from "node:path";
import {
  Generator,
  grad,
  noGrad,
  randn,
  readSafetensors,
  scaledDotProductAttention,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** [samples, queries, keys, heads, dims] of small UNets, over pixels and over texts, and of SD1.5's largest map. */
const SHAPES = [
  [32, 256, 256, 4, 8],
  [32, 256, 77, 4, 8],
  [32, 64, 64, 4, 16],
  [32, 64, 12, 4, 16],
  [1, 4096, 4096, 8, 40],
  [1, 4096, 77, 8, 40],
] as const;

const question: Question = {
  question: "What does attention cost, with small heads and with SD1.5's?",
  peer: "torch's scaled_dot_product_attention: libtorch's own kernel on the same queries, keys and values.",
  prepare: (folder) => {
    const tensors = SHAPES.flatMap(([samples, queries, keys, heads, dims], i) =>
      [queries, keys, keys].map((n, j): [string, Tensor] => [
        `${SHAPES[i]} ${j}`,
        randn([samples, n, heads, dims], { generator: new Generator(3 * i + j) }),
      ]),
    );
    writeSafetensors(join(folder, "tokens.safetensors"), new Map(tensors), {});
  },
  cases: (folder) => {
    const tokens = readSafetensors(join(folder, "tokens.safetensors"));
    return SHAPES.flatMap((shape): Case[] => {
      const read = (j: number): Tensor => (tokens.get(`${shape} ${j}`) as Tensor).transpose(1, 2);
      const [q, k, v] = [read(0), read(1), read(2)];
      const leaves = [q, k, v].map((x) => x.clone());
      for (const leaf of leaves) leaf.requiresGrad = true;
      const forward = (): Tensor => noGrad(() => scaledDotProductAttention(q, k, v));
      const gradient = (): Tensor => {
        const [query, key, value] = leaves as [Tensor, Tensor, Tensor];
        return grad([scaledDotProductAttention(query, key, value)], leaves, { gradients: [q] })[0] as Tensor;
      };
      const measured = (name: string, work: () => Tensor): Case => ({
        name: `${name} [${shape}]`,
        shapes: "[samples, queries, keys, heads, dims]",
        target: { of: "cpu", ratio: 1 },
        run: () => scope(() => void work()),
        result: () => scope(() => some(work())),
      });
      return [measured("forward", forward), measured("forward + backward", gradient)];
    });
  },
};
export default question;
