import { Generator, liveTensors, scope, type Tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { StableDiffusionXL } from "../families/stable-diffusion-xl.js";
import { tinyPipeline } from "../families/tiny-pipeline.fixture.js";
import type { GuidedConditions } from "../models/conditions.js";
import { SAMPLERS, type SamplerName } from "../samplers/samplers.js";
import { guidedDenoiser } from "./denoiser.js";
import { sampleLatents } from "./sample-latents.js";

const FAMILIES = ["sd15", "sdxl"] as const;
const names = Object.keys(SAMPLERS) as SamplerName[];
const prompts = ["a red bird", "fish", "two moons"];
const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();
const generators = (seeds: readonly number[]): Generator[] => seeds.map((seed) => new Generator(seed));

describe.each(FAMILIES)("sampling from %s", (family) => {
  const pipe = tinyPipeline(family);

  test.each(names)("by %s gives the same latents at any batch size, but for rounding", (sampler) => {
    scope(() => {
      const options = { steps: 4, guidanceScale: 3, sampler, eta: sampler === "ddim" ? 1 : 0 };
      const together = sampleLatents(pipe, { ...options, prompts, generators: generators([7, 8, 9]) });
      expect(together.shape).toEqual([3, 4, 8, 8]);
      for (const [i, prompt] of prompts.entries()) {
        const alone = sampleLatents(pipe, {
          ...options,
          prompts: [prompt],
          generators: generators([7 + i]),
        });
        // A product of more rows adds in another order: float32 rounding, grown by guidance and four steps.
        expect(farthest(alone, together.narrow(0, i, 1))).toBeLessThan(2e-4);
      }
    });
  });

  test("a UNet in bfloat16 samples near what it does in float32", () => {
    scope(() => {
      const other = tinyPipeline(family);
      const run = (guidanceScale: number) =>
        [pipe, other].map((of) =>
          sampleLatents(of, { prompts: ["bird"], generators: generators([1]), steps: 3, guidanceScale }),
        ) as [Tensor, Tensor];
      other.denoiser.to({ dtype: "bfloat16" });
      for (const guidanceScale of [1, 3]) {
        const [full, half] = run(guidanceScale);
        expect(half.dtype).toBe("float32");
        expect(farthest(full, half)).toBeGreaterThan(0);
        expect(farthest(full, half)).toBeLessThan(0.1 * full.abs().max().item());
      }
    });
  });

  test("the same seed gives the same bits, another seed another picture", () => {
    scope(() => {
      const run = (seed: number) =>
        sampleLatents(pipe, { prompts: ["bird"], generators: generators([seed]), steps: 3 }).toTypedArray();
      expect(run(1)).toEqual(run(1));
      expect(run(1)).not.toEqual(run(2));
    });
  });

  test("takes latents of any shape, also odd and not square", () => {
    scope(() => {
      const latents = sampleLatents(pipe, {
        prompts: ["bird"],
        generators: generators([1]),
        steps: 2,
        latentSize: [5, 9],
      });
      expect(latents.shape).toEqual([1, 4, 5, 9]);
      expect(pipe.vae.decodeLatents(latents).shape).toEqual([1, 3, 10, 18]);
    });
  });

  test("keeps nothing but the latents alive, however many steps", () => {
    const before = liveTensors();
    for (const sampler of names) {
      const latents = sampleLatents(pipe, {
        prompts: ["bird"],
        generators: generators([1]),
        steps: 6,
        sampler,
      });
      expect(liveTensors() - before).toBe(1);
      latents.dispose();
    }
    expect(liveTensors()).toBe(before);
  });

  test("reports every call of the UNet", () => {
    scope(() => {
      const seen: string[] = [];
      const onStep = (done: number, calls: number): void => void seen.push(`${done}/${calls}`);
      sampleLatents(pipe, { prompts: ["b"], generators: generators([1]), steps: 2, sampler: "pndm", onStep });
      expect(seen).toEqual(["1/3", "2/3", "3/3"]);
    });
  });

  test("needs a generator for each prompt", () => {
    expect(() => sampleLatents(pipe, { prompts, generators: generators([1]) })).toThrow(RangeError);
  });

  test("a guidance scale of 1 or less is the conditional output alone", () => {
    scope(() => {
      const conditions = pipe.encode(["bird"], { size: [16, 16] });
      const { conditional, unconditional } = conditions;
      const x = sampleLatents(pipe, { prompts: ["bird"], generators: generators([1]), steps: 1 });
      const at = (guidanceScale: number) =>
        guidedDenoiser({ model: pipe.denoiser, ...conditions, guidanceScale }).forRows([0])(x, 401);
      const of = (side: typeof conditional) => pipe.denoiser.forward(x, 401, side);
      for (const scale of [1, 0.5, 0]) expect(farthest(at(scale), of(conditional))).toBe(0);
      expect(farthest(at(2), of(conditional).mul(2).sub(of(unconditional)))).toBeLessThan(1e-4);
    });
  });
});

test("SDXL without a negative prompt goes away from zeros, with one from its encoding", () => {
  scope(() => {
    const pipe = tinyPipeline("sdxl");
    const none: GuidedConditions = pipe.encode(["bird"], { size: [32, 48] });
    expect(none.unconditional.context?.abs().max().item()).toBe(0);
    expect(none.unconditional.textEmbeds?.abs().max().item()).toBe(0);
    expect(none.conditional.timeIds?.toNumbers()).toEqual([32, 48, 0, 0, 32, 48]);
    expect(none.unconditional.timeIds?.toNumbers()).toEqual([32, 48, 0, 0, 32, 48]);
    const empty = pipe.encode(["bird"], { negativePrompt: "", size: [32, 48] });
    expect(empty.unconditional.context.abs().max().item()).toBeGreaterThan(0);
    const parts = (pipe as StableDiffusionXL).parts;
    const unforced = new StableDiffusionXL({ ...parts, forceZeros: false });
    const other = unforced.encode(["bird"], { size: [32, 48] });
    expect(farthest(other.unconditional.context, empty.unconditional.context)).toBe(0);
  });
});

test("SDXL's context is both encoders' states before their last layers, side by side", () => {
  scope(() => {
    const pipe = tinyPipeline("sdxl") as StableDiffusionXL;
    const { context, pooled } = pipe.encodePrompts(["bird"]);
    const { textEncoder, textEncoder2 } = pipe.parts;
    const [ids, ids2] = pipe.tokenize(["bird"]) as [Tensor, Tensor];
    const first = textEncoder.forward(ids).hiddenStates.at(-2) as Tensor;
    const second = textEncoder2.forward(ids2);
    const width = first.shape[2] as number;
    expect(farthest(context.narrow(2, 0, width), first)).toBe(0);
    expect(farthest(context.narrow(2, width, 12), second.hiddenStates.at(-2) as Tensor)).toBe(0);
    expect(farthest(pooled, second.pooled)).toBe(0);
    expect(ids2.toNumbers().at(-1)).toBe(0); // padded with `!`
    expect(ids.toNumbers().at(-1)).not.toBe(0);
  });
});
