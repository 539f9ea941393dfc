import { join } from "node:path";
import {
  Generator,
  geglu,
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

/** [tokens, width] of small UNets' feed-forwards, and of SD1.5's widest map. */
const SHAPES = [
  [512, 256],
  [128, 512],
  [4096, 1280],
] as const;

const question: Question = {
  question: "What does GEGLU cost behind its linear map?",
  peer: "torch: chunk, gelu and a product, of the same rows.",
  prepare: (folder) => {
    const rows = SHAPES.map(([tokens, width], i): [string, Tensor] => [
      `${SHAPES[i]}`,
      randn([tokens, 2 * width], { generator: new Generator(i) }),
    ]);
    writeSafetensors(join(folder, "rows.safetensors"), new Map(rows), {});
  },
  cases: (folder) => {
    const rows = readSafetensors(join(folder, "rows.safetensors"));
    return SHAPES.flatMap((shape): Case[] => {
      const x = rows.get(`${shape}`) as Tensor;
      const leaf = x.clone();
      leaf.requiresGrad = true;
      const along = x.narrow(1, 0, shape[1]).contiguous();
      const forward = (): Tensor => noGrad(() => geglu(x));
      const gradient = (): Tensor => grad([geglu(leaf)], [leaf], { gradients: [along] })[0] as Tensor;
      const measured = (name: string, work: () => Tensor): Case => ({
        name: `${name} [${shape}]`,
        shapes: `x [${shape[0]},${2 * shape[1]}]`,
        target: { of: "cpu", ratio: 1 },
        run: () => scope(() => void work()),
        result: () => scope(() => some(work())),
      });
      return [measured("forward", forward), measured("forward + backward", gradient)];
    });
  },
};
export default question;
