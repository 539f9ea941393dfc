import { join } from "node:path";
import {
  Generator,
  GroupNorm,
  grad,
  initialize,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** Maps of a small UNet, of SD1.5's, and of a VAE. */
const SHAPES = [
  [32, 32, 16, 16],
  [2, 320, 64, 64],
  [1, 128, 256, 256],
] as const;

const DTYPES = ["float32", "bfloat16"] as const;
/** Largest difference of a bfloat16 result from the peer's, which rounds between operators. */
const ROUNDING = 0.02;

const question: Question = {
  question: "What do GroupNorm and its SiLU cost on maps whose channels come last?",
  peer: "torch's group_norm, then silu: libtorch's own kernels on the same maps, 32 groups.",
  prepare: (folder) => {
    const maps = SHAPES.flatMap((shape, i) => {
      const x = randn(shape, { generator: new Generator(i) });
      return DTYPES.map((dtype): [string, Tensor] => [`${shape}, ${dtype}`, x.to({ dtype })]);
    });
    writeSafetensors(join(folder, "maps.safetensors"), new Map(maps), {});
  },
  cases: (folder) => {
    const maps = readSafetensors(join(folder, "maps.safetensors"));
    const each = SHAPES.flatMap((shape) => DTYPES.map((dtype) => ({ shape, dtype })));
    return each.flatMap(({ shape, dtype }): Case[] => {
      const layer = new GroupNorm(32, shape[1]);
      initialize(layer, new Generator(0), { dtype });
      const order = { memoryFormat: "channels_last" } as const;
      const x = (maps.get(`${shape}, ${dtype}`) as Tensor).contiguous(order);
      const leaf = x.clone(order);
      leaf.requiresGrad = true;
      const forward = (): Tensor => noGrad(() => layer.forwardSilu(x));
      const gradient = (): Tensor => grad([layer.forwardSilu(leaf)], [leaf], { gradients: [x] })[0] as Tensor;
      const measured = (name: string, work: () => Tensor): Case => ({
        name: `${name} [${shape}], ${dtype}`,
        shapes: `x [${shape}]`,
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
