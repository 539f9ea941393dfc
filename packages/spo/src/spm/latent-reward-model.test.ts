import { Generator, liveTensors, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { tinyLrm } from "../tiny-lrm.fixture.js";
import type { LatentRewardModel, LatentRewardSettings } from "./latent-reward-model.js";

const FAMILIES = ["sd15", "sdxl"] as const;
const latents = (n = 2): Tensor => randn([n, 4, 8, 8], { generator: new Generator(3) });
const ids = (rows: number[][]): Tensor[] => [tensor(rows, { dtype: "int64" })];
const TEXTS = [[1, 7, 9, 49, 49], [1, 3, 49, 49, 49]]; // biome-ignore format: rows
const EMPTY = [[1, 49, 49, 49, 49]];

const features = (lrm: LatentRewardModel, t: number | Tensor = 501): Tensor =>
  lrm.imageFeatures(latents(), t, lrm.encode(ids(TEXTS)), lrm.encode(ids(EMPTY)));
const gap = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();
const quietly = (fn: () => void): void => noGrad(() => scope(fn));

describe.each(FAMILIES)("the latent reward model of %s", (family) => {
  const withSettings = (settings: Partial<LatentRewardSettings>): LatentRewardModel =>
    tinyLrm(family, settings);

  test("without enhancement is what the text's half of an enhanced batch is", () =>
    quietly(() => {
      const lrm = withSettings({ guidanceScale: 1 });
      const [texts, away] = [lrm.encode(ids(TEXTS)), lrm.encode(ids(EMPTY))];
      const alone = lrm.stages(latents(), 501, texts);
      const both = lrm.stages(latents(), 501, texts, away);
      expect(alone).toHaveLength(3); // two levels and the middle
      for (const [i, stage] of both.entries()) {
        expect(stage.shape).toEqual([4, (alone[i] as Tensor).shape[1]]);
        expect(gap(stage.narrow(0, 0, 2), alone[i] as Tensor)).toBeLessThan(1e-5);
      }
      // The halves part at the text: at the middle they differ.
      expect(gap(both[2]?.narrow(0, 2, 2) as Tensor, alone[2] as Tensor)).toBeGreaterThan(1e-4);
    }));

  test("enhances the middle alone, and the levels where it is told to", () =>
    quietly(() => {
      const lrm = withSettings({ guidanceScale: 3 });
      const weight = lrm.visual_projection.weight;
      const [texts, away] = [lrm.encode(ids(TEXTS)), lrm.encode(ids(EMPTY))];
      const halves = lrm
        .stages(latents(), 501, texts, away)
        .map((stage) => stage.chunk(2) as [Tensor, Tensor]);
      const enhanced = ([cond, uncond]: [Tensor, Tensor]): Tensor => uncond.add(cond.sub(uncond).mul(3));
      const product = (stages: Tensor[]): Tensor => {
        let [sum, at] = [tensor(0), 0];
        for (const stage of stages) {
          const width = stage.shape[1] as number;
          sum = sum.add(stage.matmul(weight.narrow(1, at, width).transpose(0, 1)));
          at += width;
        }
        return sum;
      };
      const [first, second, middle] = halves as [[Tensor, Tensor], [Tensor, Tensor], [Tensor, Tensor]];
      expect(gap(features(lrm), product([first[0], second[0], enhanced(middle)]))).toBeLessThan(2e-5);
      const all = withSettings({ guidanceScale: 3, multiScaleCfg: true }); // the same weights
      // SDXL's published code leaves the first level.
      const firstOne = family === "sdxl" ? first[0] : enhanced(first);
      expect(gap(features(all), product([firstOne, enhanced(second), enhanced(middle)]))).toBeLessThan(2e-5);
    }));

  test("looks at the way down and the middle alone, and at the timestep of each row", () =>
    quietly(() => {
      const lrm = withSettings({});
      const before = features(lrm);
      const used = lrm.usedParameters();
      for (const [name, value] of lrm.namedParameters()) if (!used.has(name)) value.fill_(7);
      expect(gap(features(lrm), before)).toBe(0);
      expect([...used.keys()].some((name) => name.startsWith("unet.mid_block."))).toBe(true);
      const mixed = features(lrm, tensor([501, 11], { dtype: "int64" }));
      expect(gap(mixed.narrow(0, 0, 1), before.narrow(0, 0, 1))).toBeLessThan(2e-5);
      expect(gap(mixed.narrow(0, 1, 1), before.narrow(0, 1, 1))).toBeGreaterThan(1e-3);
    }));

  test("learns from its scores in every parameter that it uses, and leaves nothing else alive", () => {
    const lrm = withSettings({});
    const used = lrm.usedParameters();
    for (const parameter of used.values()) parameter.requiresGrad = true;
    const round = (): void =>
      scope(() => {
        const texts = lrm.encode(ids(TEXTS));
        const image = lrm.imageFeatures(latents(), 501, texts, lrm.encode(ids(EMPTY)));
        lrm.scores(image, texts.features).sum().backward();
      });
    round();
    const before = liveTensors();
    round();
    expect(liveTensors()).toBe(before);
    // Of the text encoders' last layers nothing reaches SDXL's context, which is the state before them.
    const untouched = [...used].filter(([, { grad }]) => grad === undefined).map(([name]) => name);
    expect(untouched.filter((name) => !/^text_encoder\..*(layers\.1\.|final_layer_norm)/.test(name))).toEqual(
      [],
    );
    expect(untouched.length > 0).toBe(family === "sdxl");
  });
});

test("a score is exp(logit_scale) times the cosine", () =>
  quietly(() => {
    const lrm = tinyLrm("sd15");
    const [a, b] = [tensor([[3, 0, 0]]), tensor([[1, 1, 0]])];
    expect(lrm.scores(a, b).item()).toBeCloseTo(Math.exp(2) * Math.SQRT1_2, 4);
  }));
