import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Generator, initialize, liveTensors, noGrad, randn, scope, type Tensor } from "@spo/torch";
import { afterAll, expect, test } from "vitest";
import { ArtworkJudge, loadArtworkJudge, saveArtworkJudge } from "./artwork-judge.js";

const folder = mkdtempSync(join(tmpdir(), "spo-judge-"));
afterAll(() => rmSync(folder, { recursive: true }));

function smallJudge(): ArtworkJudge {
  const judge = new ArtworkJudge({
    model_type: "artwork_judge",
    concepts: ["1f34e", "2b50"],
    captions: ["red apple", "star"],
    widths: [8, 16],
    patchWidths: [8],
  });
  initialize(judge, new Generator(3));
  return judge;
}

const pixels = (): Tensor => randn([3, 3, 16, 16], { generator: new Generator(4) });

test("a saved judge says the same, to the rounding of half precision", () => {
  noGrad(() =>
    scope(() => {
      const judge = smallJudge();
      saveArtworkJudge(folder, judge);
      const again = loadArtworkJudge(folder);
      const x = pixels();
      const difference = (of: (judge: ArtworkJudge) => Tensor): number =>
        of(judge).sub(of(again)).abs().max().item();
      expect(difference((j) => j.logProbs(j.features(x)))).toBeLessThan(0.02);
      expect(difference((j) => j.realism(x))).toBeLessThan(0.02);
      expect(again.config).toEqual(judge.config);
    }),
  );
});

test("log probabilities are of all concepts, and nothing but the outcome stays alive", () => {
  const judge = smallJudge();
  const x = pixels();
  const before = liveTensors();
  const [logProbs, realism] = noGrad(() => [judge.logProbs(judge.features(x)), judge.realism(x)] as const);
  const sums = scope(() => logProbs.exp().sum([1]).toNumbers());
  for (const sum of sums) expect(sum).toBeCloseTo(1, 5);
  expect(realism.shape).toEqual([3]);
  logProbs.dispose();
  realism.dispose();
  expect(liveTensors()).toBe(before + 1); // the features, in no scope
});

test("realism is the mean of what patches say: a picture twice as large of the same texture is as real", () => {
  noGrad(() =>
    scope(() => {
      const judge = smallJudge();
      const x = pixels().narrow(0, 0, 1);
      const tiled = x.repeat([1, 1, 4, 4]);
      const wide = x.repeat([1, 1, 4, 8]);
      expect(Math.abs(judge.realism(tiled).item() - judge.realism(wide).item())).toBeLessThan(0.05);
    }),
  );
});

test("a folder without its config is refused by name", () => {
  const bad = join(folder, "bad");
  expect(() => loadArtworkJudge(bad)).toThrow(/config\.json/);
  writeFileSync(join(folder, "config.json"), `{ "concepts": ["a"], "surprise": 1 }`);
  expect(() => loadArtworkJudge(folder)).toThrow(/surprise/);
});
