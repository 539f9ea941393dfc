import { conv2d, Generator, layerNorm, linear, noGrad, randn, scope, type Tensor } from "@spo/torch";
import type { Case, Question } from "./question.js";

const UNITS = 1000;

/** Small enough that what is timed is the way to the kernel and back. */
const question: Question = {
  question: "What does one operator cost from JavaScript, against Python?",
  peer: "torch, the same operator in a for loop; each result is freed by the next one. Ours frees a thousand results at a time, at the end of a scope.",
  prepare: () => {},
  cases: () => {
    const generator = new Generator(0);
    const make = (...shape: number[]): Tensor => randn(shape, { generator });
    const a = make(16);
    const b = make(16);
    const image = make(1, 4, 8, 8);
    const kernel = make(4, 4, 3, 3);
    const bias = make(4);
    const tokens = make(1, 4, 32);
    const weight = make(32, 32);
    const width = make(32);
    const leaf = make(16);
    leaf.requiresGrad = true;
    const op = (name: string, shapes: string, run: () => void): Case => ({
      name,
      shapes,
      units: UNITS,
      target: { of: "cpu", ratio: 2 },
      run: () =>
        noGrad(() =>
          scope(() => {
            for (let i = 0; i < UNITS; i++) run();
          }),
        ),
    });
    return [
      op("add", "[16] + [16]", () => a.add(b)),
      op("multiply by a number", "[16] · 2.5", () => a.mul(2.5)),
      op("transpose", "[1, 4, 32], 1, 2", () => tokens.transpose(1, 2)),
      op("reshape", "[1, 4, 32] → [4, 2, 16]", () => tokens.reshape([4, 2, 16])),
      op("linear", "[1, 4, 32] · [32, 32]ᵀ + [32]", () => linear(tokens, weight, width)),
      op("layer norm", "[1, 4, 32]", () => layerNorm(tokens, [32], width, width, 1e-5)),
      op("conv2d", "[1, 4, 8, 8] * [4, 4, 3, 3] + [4], padding 1", () => conv2d(image, kernel, bias, 1, 1)),
      {
        ...op("add, recorded", "[16] + [16], one of them a leaf that wants a gradient", () => {}),
        run: () =>
          scope(() => {
            for (let i = 0; i < UNITS; i++) leaf.add(b);
          }),
      },
    ];
  },
};
export default question;
