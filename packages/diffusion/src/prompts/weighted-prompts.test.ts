import { noGrad, scope, type Tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { StableDiffusionXL } from "../families/stable-diffusion-xl.js";
import { letterTokenizer, tinyPipeline } from "../families/tiny-pipeline.fixture.js";
import type { Conditions } from "../models/conditions.js";
import { guidedDenoiser } from "../pipelines/denoiser.js";
import { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import { PromptChunker } from "./prompt-chunks.js";
import type { PromptSyntax } from "./prompt-weights.js";

/** One token a letter and for the comma, contexts of 30. */
function commaTokenizer(): ClipTokenizer {
  const { options } = letterTokenizer();
  const vocabulary = { ...options.vocabulary, ",</w>": Object.keys(options.vocabulary).length };
  return new ClipTokenizer({ ...options, vocabulary, modelMaxLength: 32 });
}

/** Words of a chunk, `|` behind the end, and its weights that are not 1. */
function shown(prompt: string, syntax: PromptSyntax = "a1111", tokenizer = commaTokenizer()): string[] {
  const names = new Map(Object.entries(tokenizer.options.vocabulary).map(([name, id]) => [id, name]));
  return new PromptChunker(tokenizer).chunks(prompt, syntax).map(({ ids, weights }) => {
    expect(ids).toHaveLength(tokenizer.modelMaxLength);
    expect(weights).toHaveLength(tokenizer.modelMaxLength);
    const words = ids.map((id, i) => {
      const name = (names.get(id) as string).replace("</w>", "");
      return weights[i] === 1 ? name : `${name}*${weights[i]}`;
    });
    return words
      .join(" ")
      .replaceAll(/<\|startoftext\|> ?/g, "")
      .replace(/ ?<\|endoftext\|>.*/, "|");
  });
}

const words = (count: number, word = "a"): string => Array.from({ length: count }, () => word).join(" ");

describe("contexts of a prompt", () => {
  test("hold the words with their weights, and the rest of a prompt in further ones", () => {
    expect(shown("a (b:2) c")).toEqual(["a b*2 c|"]);
    expect(shown(`(${words(31, "b")}:2)`)).toEqual([`${words(30, "b*2")}|`, "b*2|"]);
    expect(shown(words(30))).toEqual([`${words(30)}|`]);
  });

  test("keep a phrase behind a comma whole, where the comma is among the last 20 tokens", () => {
    expect(shown(`${words(12)}, ${words(20, "b")}`)).toEqual([`${words(12)} ,|`, `${words(20, "b")}|`]);
    expect(shown(`${words(8)}, ${words(23, "b")}`)).toEqual([
      `${words(8)} , ${words(21, "b")}|`,
      `${words(2, "b")}|`,
    ]);
    expect(shown(`${words(30)}, b`)).toEqual([`${words(30)}|`, ", b|"]);
  });

  test("end at BREAK, and one without words before it stays", () => {
    expect(shown("a BREAK b")).toEqual(["a|", "b|"]);
    expect(shown("a BREAK")).toEqual(["a|"]);
    expect(shown("BREAK b")).toEqual(["|", "b|"]);
    expect(shown("")).toEqual(["|"]);
  });

  test("are one, cut, where a prompt is read plainly; auto does so where it has no marks", () => {
    for (const syntax of ["plain", "auto"] as const)
      expect(shown(words(40), syntax)).toEqual([`${words(30)}|`]);
    expect(shown("a BREAK b", "auto")).toEqual(["a|", "b|"]);
    expect(shown("a BREAK b", "plain")).toEqual(["a b r e a k b|"]);
  });

  test("have the second tokenizer's padding behind the first end token", () => {
    const tokenizer = letterTokenizer({ padToken: "!" });
    const [chunk] = new PromptChunker(tokenizer).chunks("(a)", "a1111");
    expect(chunk?.ids).toEqual(tokenizer.encodePadded("a"));
  });
});

const numbers = (x: Tensor): number[] => [...x.toNumbers()];
const contextOf = (pipe: ReturnType<typeof tinyPipeline>, prompt: string, syntax: PromptSyntax): Tensor =>
  pipe.encode([prompt], { syntax, size: [8, 8] }).conditional.context;

describe.each(["sd15", "sdxl"] as const)("a weighted prompt of %s", (family) => {
  const pipe = tinyPipeline(family);
  // A fresh norm's states have a mean of zero, which says nothing; a trained one's do not.
  pipe.models.text_encoder.text_model.final_layer_norm.bias?.fill_(0.3);

  test("has the states of its words times their weights, each encoder's mean as it was", () => {
    noGrad(() =>
      scope(() => {
        const plain = contextOf(pipe, "a b c", "plain");
        const heavy = contextOf(pipe, "a (b:1.5) c", "auto");
        // Of SDXL the encoders' states stand side by side, and each has a mean of its own.
        const widths = pipe instanceof StableDiffusionXL ? [8, 12] : [plain.shape[2] as number];
        let at = 0;
        for (const width of widths) {
          const before = plain.narrow(2, at, width);
          const after = heavy.narrow(2, at, width);
          const length = before.shape[1] as number;
          const weights = Array.from({ length }, (_, i) => (i === 2 ? 1.5 : 1)); // start, a, b
          const scaled = numbers(before).map((x, i) => x * (weights[Math.floor(i / width)] as number));
          const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
          const ratio = mean(numbers(before)) / mean(scaled);
          const expected = scaled.map((x) => x * ratio);
          const largest = Math.max(...expected.map(Math.abs));
          for (const [i, value] of numbers(after).entries())
            expect(Math.abs(value - (expected[i] as number))).toBeLessThan(1e-4 * largest);
          at += width;
        }
        expect(at).toBe(plain.shape[2]);
      }),
    );
  });

  test("of weight 1 everywhere has the bits of the plain one", () => {
    noGrad(() =>
      scope(() => {
        for (const [prompt, words] of [
          ["a b c", "a b c"],
          ["\\(a b\\) c", "(a b) c"],
          ["(a b:1) c", "a b c"],
        ] as const) {
          expect(numbers(contextOf(pipe, prompt, "a1111"))).toEqual(numbers(contextOf(pipe, words, "plain")));
        }
      }),
    );
  });

  test("of two contexts has them one behind the other, and the first one's pooled state", () => {
    noGrad(() =>
      scope(() => {
        const both: Conditions = pipe.encode(["a BREAK b"], { syntax: "auto", size: [8, 8] }).conditional;
        const [a, b] = ["a", "b"].map(
          (prompt): Conditions => pipe.encode([prompt], { size: [8, 8] }).conditional,
        );
        expect(numbers(both.context!)).toEqual([...numbers(a!.context!), ...numbers(b!.context!)]);
        if (a!.textEmbeds) expect(numbers(both.textEmbeds!)).toEqual(numbers(a!.textEmbeds));
      }),
    );
  });

  test("is guided away from a negative prompt of another number of contexts", () => {
    noGrad(() =>
      scope(() => {
        const conditions = pipe.encode(["a BREAK b"], { syntax: "auto", negativePrompt: "c", size: [8, 8] });
        const { conditional, unconditional } = conditions;
        expect(conditional.context.shape[1]).toBe(2 * (unconditional.context.shape[1] as number));
        const x = conditional.context.narrow(1, 0, 1).sum().mul(0).add(0.3).expand([1, 4, 8, 8]);
        const output = (guidanceScale: number): number[] =>
          numbers(
            guidedDenoiser({ model: pipe.denoiser, ...conditions, guidanceScale }).forRows([0])(x, 500),
          );
        const alone = (side: typeof conditional): number[] => numbers(pipe.denoiser.forward(x, 500, side));
        const [cond, uncond] = [alone(conditional), alone(unconditional)];
        for (const [i, value] of output(3).entries())
          expect(value).toBeCloseTo(
            (uncond[i] as number) + 3 * ((cond[i] as number) - (uncond[i] as number)),
            4,
          );
      }),
    );
  });
});

test("one text's bits do not depend on the weights of others in its batch", () => {
  const pipe = tinyPipeline("sd15");
  noGrad(() =>
    scope(() => {
      const { context } = pipe.encode(["a b", "a (b:1.4)"], { syntax: "auto", size: [8, 8] }).conditional;
      const { context: plain } = pipe.encode(["a b", "a b"], { size: [8, 8] }).conditional;
      expect(numbers(context.narrow(0, 0, 1))).toEqual(numbers(plain.narrow(0, 0, 1)));
    }),
  );
});
