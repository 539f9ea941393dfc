// What every judge keeps to.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WorkMeter } from "@spo/records";
import { clipProcessor } from "@spo/scorers";
import { Generator, initialize, liveTensors, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { LatentPreferenceModel } from "../spm/latent-preference-model.js";
import { publishedLatentSpace } from "../spm/latent-space.js";
import { PixelPreferenceModel } from "../spm/pixel-preference-model.js";
import type { PreferenceModel } from "../spm/preference-model.js";
import { initializeTimeConditioning, StepAwarePreferenceModel } from "../spm/spm.js";
import { tinyLrm } from "../tiny-lrm.fixture.js";
import { TINY_SPM } from "../tiny-models.fixture.js";
import type { JudgeContext, StepAwareJudge } from "./judge.js";
import { JudgeEnsemble } from "./judge-ensemble.js";
import { ownJudge } from "./own-judge.js";
import { RandomJudge } from "./random-judge.js";
import { rewardJudge } from "./reward-judge.js";
import { scoreJudge } from "./score-judge.js";
import { scorerOfPlaces } from "./scorer-of-places.js";
import { SpmJudge } from "./spm-judge.js";

const folder = mkdtempSync(join(tmpdir(), "spo-judges-"));
afterAll(() => rmSync(folder, { recursive: true }));

const PROMPTS = ["red", "green, long", "blue"];
/** Other ids for each prompt, an end of text behind them. */
const tokenize = (prompts: readonly string[]): Tensor => {
  const last = TINY_SPM.text_config.vocab_size - 1;
  return tensor(
    prompts.flatMap((prompt) =>
      [...prompt.padEnd(12)].map((letter) => letter.charCodeAt(0) % last).concat(last),
    ),
    { shape: [prompts.length, 13], dtype: "int64" },
  );
};

function preferenceModel(): SpmJudge {
  const spm = new StepAwarePreferenceModel(TINY_SPM);
  const generator = new Generator(2);
  initialize(spm, generator);
  initializeTimeConditioning(spm, generator);
  return new SpmJudge(new PixelPreferenceModel(spm, clipProcessor(16), tokenize));
}

const latentModel = (): SpmJudge =>
  new SpmJudge(
    new LatentPreferenceModel(
      tinyLrm("sd15", { in_channels: 3 }),
      (prompts) => [tokenize(prompts)],
      publishedLatentSpace("sd15"),
    ),
  );

function ownFile(): Promise<StepAwareJudge> {
  const path = join(folder, "own.mjs");
  writeFileSync(
    path,
    `export default (model) => ({
      prepare: (prompts) => ({
        score: ({ image }, rows) => image().mean([1, 2, 3]).add(image().select(1, 0).mean([1, 2]), { alpha: model.seed }),
      }),
    });`,
  );
  return ownJudge(path, { seed: 3 } as JudgeContext);
}

function ownScorer(): Promise<StepAwareJudge> {
  const path = join(folder, "own-scorer.mjs");
  writeFileSync(
    path,
    "export default { score: (images) => images.map(({ data }) => data[0] + data[1] / 300) };",
  );
  return ownJudge(path, {} as JudgeContext);
}

const ensemble = (): StepAwareJudge =>
  new JudgeEnsemble([
    { judge: scoreJudge(({ image }) => image().mean([1, 2, 3])), weight: 2 },
    { judge: scoreJudge(({ image }) => image().select(1, 0).mean([1, 2])), weight: -0.5 },
  ]);

const judges: readonly [name: string, open: () => StepAwareJudge | Promise<StepAwareJudge>][] = [
  ["the preference model", preferenceModel],
  ["the latent reward model", latentModel],
  [
    "a reward",
    () =>
      rewardJudge({
        name: "length",
        score: (images, prompts) =>
          images.map(({ data }, i) => (data[0] as number) + (prompts[i]?.length ?? 0)),
      }),
  ],
  [
    "one function",
    () =>
      scoreJudge(({ image, prompts }) =>
        image()
          .mean([1, 2, 3])
          .mul((prompts[0] as string).length > 0 ? 2 : 1),
      ),
  ],
  ["several judges with weights", ensemble],
  ["a file", ownFile],
  ["a file's scorer of finished images", ownScorer],
];

/** Five candidates, as pictures of 8 by 8 pixels; those in `spoilt` have a pixel that is no number. */
const candidatesOf = (places: readonly number[], spoilt: readonly number[] = []) => {
  const images = places.map((place) => {
    const image = randn([1, 3, 8, 8], { generator: new Generator(place) }).clamp(-1, 1);
    if (spoilt.includes(place)) image.select(3, 0).fill_(Number.NaN);
    return image.toNumbers();
  });
  return { images: images.flat(), count: places.length };
};

/** Scores of the pictures with the given numbers, of prompts by row. */
function scoresOf(
  judge: StepAwareJudge,
  places: readonly number[],
  rows: readonly number[],
  spoilt?: readonly number[],
): number[] {
  return noGrad(() =>
    scope(() => {
      const { images, count } = candidatesOf(places, spoilt);
      const image = tensor(images, { shape: [count, 3, 8, 8], dtype: "float32" });
      const latents = image.narrow(2, 0, 4).narrow(3, 0, 4);
      const scorer = judge.prepare(PROMPTS);
      const scores = scorer.score({ xt: latents, x0: latents, timestep: 501, image: () => image }, rows);
      expect([scores.shape, scores.dtype]).toEqual([[count], "float32"]);
      const numbers = scores.toNumbers();
      scorer.dispose?.();
      return numbers;
    }),
  );
}

describe.each(judges)("%s", (_, open) => {
  test("gives each candidate a score of its own, whatever stands beside it and in whichever order", async () => {
    const judge = await open();
    const all = scoresOf(judge, [0, 1, 2, 3], [0, 1, 2, 1]);
    expect(all.every(Number.isFinite)).toBe(true);
    expect(new Set(all).size).toBe(4);
    const turned = scoresOf(judge, [3, 2, 1, 0], [1, 2, 1, 0]).reverse();
    for (const [i, score] of all.entries()) {
      expect(turned[i]).toBeCloseTo(score, 4);
      expect(scoresOf(judge, [i], [[0, 1, 2, 1][i] as number])[0]).toBeCloseTo(score, 4);
    }
  });

  test("leaves no tensor behind", async () => {
    const judge = await open();
    scoresOf(judge, [0, 1], [0, 1]);
    const before = liveTensors();
    scoresOf(judge, [0, 1], [0, 1]);
    expect(liveTensors()).toBe(before);
  });

  test("gives a picture that is not finite no score, and the others theirs", async () => {
    const judge = await open();
    const [sound, spoilt] = [scoresOf(judge, [0, 1], [0, 1]), scoresOf(judge, [0, 1], [0, 1], [1])];
    expect(spoilt[0]).toBeCloseTo(sound[0] as number, 4);
    expect(spoilt[1]).toBeNaN();
  });
});

test("a latent reward model asks for latents alone, and says so", () => {
  noGrad(() =>
    scope(() => {
      const scorer = latentModel().prepare(PROMPTS);
      expect(scorer.sees).toBe("latents");
      expect(preferenceModel().prepare(PROMPTS).sees).toBe("predictions");
      const never = (): never => {
        throw new Error("asked for");
      };
      const xt = randn([2, 3, 8, 8], { generator: new Generator(1) });
      const candidates = { xt, timestep: 501, image: never, get x0(): Tensor { return never(); } }; // biome-ignore format: one line
      expect(scorer.score(candidates, [0, 1]).toNumbers().every(Number.isFinite)).toBe(true);
    }),
  );
});

test("what a model reads of prompts is read anew where all of it would take too much memory, each text once while it is kept", () => {
  const read: string[] = [];
  const width = 2 ** 17; // float32 of 300 prompts: 150 MiB
  const judge = new SpmJudge({
    sees: "latents",
    look: ({ xt }) => xt,
    encode: (prompts) => {
      read.push(...prompts);
      const numbers = tensor(prompts.map(Number)).unsqueeze(1);
      return { features: numbers.expand([prompts.length, width]) };
    },
    score: (_, __, { features }) => (features as Tensor).narrow(1, width - 1, 1).squeeze(1),
  } as Partial<PreferenceModel> as PreferenceModel);
  noGrad(() =>
    scope(() => {
      const before = liveTensors();
      const meter = new WorkMeter();
      const scorer = judge.prepare(
        Array.from({ length: 300 }, (_, i) => String(i)),
        meter,
      );
      expect(meter.take().passes.judgeText).toBe(0);
      read.length = 0;
      const xt = randn([3, 1, 1, 1]);
      const scores = (rows: number[]): number[] =>
        scope(() => scorer.score({ xt, x0: xt, timestep: 1, image: () => xt }, rows, meter).toNumbers());
      expect(scores([299, 7, 299])).toEqual([299, 7, 299]);
      expect(scores([7, 8, 299])).toEqual([7, 8, 299]);
      expect(read).toEqual(["299", "7", "8"]);
      expect(meter.take().passes.judgeText).toBe(3);
      scorer.dispose?.();
      xt.dispose();
      expect(liveTensors()).toBe(before);
    }),
  );
});

test("several judges score as the sum of their scores by weight, and tell each apart, of some prompts too", () => {
  const parts: readonly [number, (place: number) => number][] = [
    [2, (place) => place],
    [-0.5, (place) => 10 * place],
  ];
  const judge = new JudgeEnsemble(
    parts.map(([weight, of]) => ({
      weight,
      judge: { prepare: () => ({ score: (_: unknown, rows: readonly number[]) => tensor(rows.map(of)) }) },
    })),
  );
  const scorer = scorerOfPlaces(judge.prepare(PROMPTS), [3, 1]);
  scope(() => {
    const x = randn([2]);
    const candidates = { xt: x, x0: x, timestep: 1, image: () => x };
    expect(scorer.score(candidates, [0, 1]).toNumbers()).toEqual([6 - 15, 2 - 5]);
    expect(scorer.scoreByJudge?.(candidates, [0, 1]).flatten().toNumbers()).toEqual([6, 2, -15, -5]);
  });
  expect(scorer.sees).toBe("predictions");
});

test("a random judge draws the same scores in a round that is done again", () => {
  const judge = new RandomJudge((round) => new Generator(round));
  const round = (n: number): number[] => {
    judge.beginRound(n);
    return scoresOf(judge, [0, 1, 2], [0, 1, 2]);
  };
  const [first, second] = [round(1), round(2)];
  expect(round(1)).toEqual(first);
  expect(second).not.toEqual(first);
});

test("a scorer of some prompts asks for the rows that those have", () => {
  const asked: (readonly number[])[] = [];
  const scorer = scorerOfPlaces(
    {
      score: (_, rows) => {
        asked.push(rows);
        return randn([rows.length]);
      },
    },
    [4, 7],
  );
  scope(() => {
    const x = randn([3]);
    scorer.score({ xt: x, x0: x, timestep: 1, image: () => x }, [1, 0, 1]);
  });
  expect(asked).toEqual([[7, 4, 7]]);
});

test.each([
  ["of before", "{ prepare: () => 1, score: () => 1 }", /has score beside prepare, as judges had it before/],
  ["without a scorer", "{ prepare: () => 1 }", /prepares no scorer/],
  ["without prepare", "{ scores: () => 1 }", /exports no judge/],
])("a file's judge %s is refused with what it should have", async (name, code, message) => {
  const path = join(folder, `${name.replaceAll(" ", "-")}.mjs`);
  writeFileSync(path, `export default ${code};`);
  const use = async (): Promise<unknown> => (await ownJudge(path, {} as JudgeContext)).prepare([]);
  await expect(use()).rejects.toThrow(message);
  await expect(use()).rejects.toMatchObject({
    code: "DATA",
    hint: expect.stringContaining("docs/own-judge.md"),
  });
});
