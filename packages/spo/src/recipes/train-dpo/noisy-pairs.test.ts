import { AutoencoderKL, type TextToImage, VpSchedule } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { cat, Generator, generatorAt, initialize, randn, scope, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { TINY } from "../../tiny-models.fixture.js";
import { drawPair, noisyPairs, sidesOf } from "./noisy-pairs.js";

const SIDE = 4;
/** An image of one grey value. */
const grey = (value: number): number[] => Array<number>(SIDE * SIDE * 3).fill(value);
const batchOf = (pairs: readonly { grey0: number; grey1: number; label0: number }[]) => ({
  image0: Uint8Array.from(pairs.flatMap(({ grey0 }) => grey(grey0))),
  image1: Uint8Array.from(pairs.flatMap(({ grey1 }) => grey(grey1))),
  label0: pairs.map(({ label0 }) => label0),
  label1: pairs.map(({ label0 }) => 1 - label0),
  prompts: pairs.map((_, i) => `prompt ${i}`),
  ...{ side: SIDE, examples: pairs.map(() => 1), where: pairs.map((_, i) => `row ${i}`) },
});
const process = new VpSchedule();
const draw = (place: number, emptyPrompts: number, seed = 3) =>
  drawPair("a boat", {
    generator: generatorAt(seed, "pair", place),
    process,
    ...{ channels: 4, size: 2, emptyPrompts },
  });

test("winners come first, whichever side has the larger label", () => {
  const pairs = [
    { grey0: 255, grey1: 0, label0: 1 },
    { grey0: 255, grey1: 0, label0: 0 },
    { grey0: 51, grey1: 204, label0: 0.7 },
    { grey0: 51, grey1: 204, label0: 0.3 },
  ];
  scope(() => {
    const [win, lose] = sidesOf(batchOf(pairs)).map((pixels) => pixels.mean([1, 2, 3]).toNumbers());
    const value = (byte: number): number => byte / 127.5 - 1;
    for (const [i, expected] of [255, 0, 51, 204].entries()) expect(win?.[i]).toBeCloseTo(value(expected), 6);
    for (const [i, expected] of [0, 255, 204, 51].entries())
      expect(lose?.[i]).toBeCloseTo(value(expected), 6);
  });
});

test("prompts are left empty with the given probability, and nothing else that is drawn changes with it", () =>
  scope(() => {
    const count = 2000;
    const empty = (share: number): number =>
      Array.from({ length: count }, (_, i) => draw(i, share).prompt).filter((prompt) => prompt === "").length;
    expect(empty(0)).toBe(0);
    expect(empty(1)).toBe(count);
    // Five standard deviations of a binomial.
    expect(Math.abs(empty(0.2) - 0.2 * count)).toBeLessThan(5 * Math.sqrt(count * 0.2 * 0.8));
    const [kept, left] = [draw(5, 0), draw(5, 1)];
    expect(left.timestep).toBe(kept.timestep);
    for (const key of ["noise", "posteriorWin", "posteriorLose"] as const)
      expect(left[key].toNumbers()).toEqual(kept[key].toNumbers());
    expect([kept.prompt, left.prompt]).toEqual(["a boat", ""]);
  }));

test("timesteps are drawn evenly from 0 to 999, and what is drawn depends on seed and place", () =>
  scope(() => {
    const times = Array.from({ length: 3000 }, (_, i) => draw(i, 0).timestep);
    expect(Math.min(...times)).toBeLessThan(5);
    expect(Math.max(...times)).toBeGreaterThan(994);
    expect(times.every((t) => t >= 0 && t < 1000)).toBe(true);
    const centre = times.reduce((sum, t) => sum + t, 0) / times.length;
    expect(Math.abs(centre - 499.5)).toBeLessThan((5 * 1000) / Math.sqrt(12 * times.length));
    expect(draw(1, 0).noise.toNumbers()).toEqual(draw(1, 0).noise.toNumbers());
    expect(draw(1, 0).noise.toNumbers()).not.toEqual(draw(2, 0).noise.toNumbers());
    expect(draw(1, 0).noise.toNumbers()).not.toEqual(draw(1, 0, 4).noise.toNumbers());
  }));

test.each(["epsilon", "v_prediction"] as const)(
  "both latents of a pair are noised alike to one timestep, from posterior samples with noise of their own, to predict %s",
  (prediction_type) =>
    scope(() => {
      const process = new VpSchedule({ prediction_type });
      const vae = new AutoencoderKL(TINY.sd15.vae);
      initialize(vae, new Generator(1));
      const given: string[][] = [];
      const pipe = {
        vae,
        process,
        denoiser: { device: "cpu" },
        encode: (prompts: string[]) => {
          given.push(prompts);
          return { conditional: { context: tensor([0]) } };
        },
      } as unknown as TextToImage;
      const batch = batchOf([
        { grey0: 200, grey1: 20, label0: 1 },
        { grey0: 120, grey1: 90, label0: 0 },
      ]);
      const times = [980, 15];
      const noise = (): Tensor => randn([1, 4, 2, 2], { generator: new Generator(9 + given.length) });
      const draws = times.map((t, i) => ({
        timestep: t,
        prompt: i === 0 ? "" : "a boat",
        noise: randn([1, 4, 2, 2], { generator: new Generator(20 + i) }),
        posteriorWin: noise().mul(i + 1),
        posteriorLose: noise().mul(-1 - i),
      }));
      const found = noisyPairs(pipe, batch, draws, new WorkMeter());
      expect(given).toEqual([["", "a boat"]]);
      expect(found.timesteps.toNumbers()).toEqual([...times, ...times]);
      const [win, lose] = sidesOf(batch);
      const posterior = (of: "posteriorWin" | "posteriorLose"): Tensor => cat(draws.map((one) => one[of]));
      const latents = cat([
        vae.toLatents(win, posterior("posteriorWin")),
        vae.toLatents(lose, posterior("posteriorLose")),
      ]).toNumbers();
      const size = latents.length / 4;
      for (const [i, value] of found.noisy.toNumbers().entries()) {
        const pair = Math.floor(i / size) % 2;
        const a = process.alphaBar(times[pair] as number);
        const eps = draws[pair]?.noise.toNumbers()[i % size] as number;
        expect(value).toBeCloseTo(Math.sqrt(a) * (latents[i] as number) + Math.sqrt(1 - a) * eps, 5);
        const v = Math.sqrt(a) * eps - Math.sqrt(1 - a) * (latents[i] as number);
        expect(found.target.toNumbers()[i]).toBeCloseTo(prediction_type === "epsilon" ? eps : v, 5);
      }
    }),
);
