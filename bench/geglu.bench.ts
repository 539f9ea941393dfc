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

const DTYPES = ["float32", "bfloat16"] as const;
/** Largest difference of a bfloat16 result from the peer's, which rounds between operators. */
const ROUNDING = 0.02;

const question: Question = {
  question: "What does GEGLU cost behind its linear map?",
  peer: "torch: chunk, gelu and a product, of the same rows.",
  prepare: (folder) => {
    const rows = SHAPES.flatMap(([tokens, width], i) => {
      const x = randn([tokens, 2 * width], { generator: new Generator(i) });
      return DTYPES.map((dtype): [string, Tensor] => [`${SHAPES[i]}, ${dtype}`, x.to({ dtype })]);
    });
    writeSafetensors(join(folder, "rows.safetensors"), new Map(rows), {});
  },
  cases: (folder) => {
    const rows = readSafetensors(join(folder, "rows.safetensors"));
    const each = SHAPES.flatMap((shape) => DTYPES.map((dtype) => ({ shape, dtype })));
    return each.flatMap(({ shape, dtype }): Case[] => {
      const x = rows.get(`${shape}, ${dtype}`) as Tensor;
      const leaf = x.clone();
      leaf.requiresGrad = true;
      const along = x.narrow(1, 0, shape[1]).contiguous();
      const forward = (): Tensor => noGrad(() => geglu(x));
      const gradient = (): Tensor => grad([geglu(leaf)], [leaf], { gradients: [along] })[0] as Tensor;
      const measured = (name: string, work: () => Tensor): Case => ({
        name: `${name} [${shape}], ${dtype}`,
        shapes: `x [${shape[0]},${2 * shape[1]}]`,
        target: { of: "cpu", ratio: 1 },
        ...(dtype === "bfloat16" && { tolerance: ROUNDING }),
        run: () => scope(() => void work()),
        result: () => scope(() => some(work())),
      });
      return [measured("forward", forward), measured("forward + backward", gradient)];
    });
  },
};
export default question;
