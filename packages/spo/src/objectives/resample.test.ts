import { type Denoiser, VpSchedule } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { cat, Generator, liveTensors, randn, scope, type Tensor, tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { CandidateScorer } from "../judges/judge.js";
import { drawn } from "../rollout/randomness.js";
import type { RolloutSettings } from "../rollout/rollout.js";
import { type Resampled, resample } from "./resample.js";
import { concatPairs, selectPairs } from "./step-pairs.js";

const schedule = new VpSchedule();
/** Predicts a fixed fraction of x_t as noise. */
const denoiser: Denoiser = { samplePasses: 2, forRows: () => (xt) => xt.mul(0.9) };
const decode = (latents: Tensor): Tensor =>
  scope(() =>
    cat([latents, latents])
      .narrow(1, 0, 3)
      .narrow(0, 0, latents.shape[0] as number),
  );
/** Prefers latents with a high mean; never decodes. */
const meanScorer: CandidateScorer = {
  score: ({ x0 }) => scope(() => x0.mean([1, 2, 3]).mul(10)),
};

function roll(
  settings: RolloutSettings,
  {
    prompts = 2,
    seed = 1,
    scorer = meanScorer,
    meter,
    stripPrompts,
    noiseBlock,
  }: {
    noiseBlock?: number;
    prompts?: number;
    seed?: number;
    scorer?: CandidateScorer;
    meter?: WorkMeter;
    stripPrompts?: number[];
  } = {},
): Resampled {
  return scope(() => {
    const generator = new Generator(seed);
    const initialLatents = randn([prompts, 4, 4, 4], { generator });
    return resample({
      denoiser,
      process: schedule,
      decode,
      scorer,
      initialLatents,
      randomness: drawn(generator, { noiseBlock }),
      settings,
      meter,
      stripPrompts,
    });
  });
}

test("with noise blocks the sides of a pair differ by one number a block", () => {
  scope(() => {
    const { pairs } = roll({ steps: 5, candidates: 3, firstBranch: 1, threshold: 0 }, { noiseBlock: 2 });
    const apart = pairs.nextWin.sub(pairs.nextLose).reshape([pairs.size, 4, 2, 2, 2, 2]);
    expect(
      apart
        .amax([3, 5])
        .sub(apart.amin([3, 5]))
        .max()
        .item(),
    ).toBeLessThan(1e-5);
    expect(apart.abs().max().item()).toBeGreaterThan(0.01);
  });
});

test("every segment is judged once, and the last one at timestep 0", () => {
  const { comparisons, pairs } = roll({ steps: 20, candidates: 4, firstBranch: 4, threshold: -1 });
  expect(comparisons.map(({ timestep }) => timestep)).toEqual([...schedule.timesteps(20).slice(5), 0]);
  expect(pairs.size).toBe(16 * 2);
  expect(pairs.timesteps.slice(0, 4)).toEqual([751, 751, 701, 701]);
  expect(comparisons.at(-1)?.next).toBeUndefined();
});

test("with three inner steps segments start at steps 4, 8, 12 and 16, and each gives four transitions a prompt", () => {
  const { comparisons, pairs } = roll({
    steps: 20,
    candidates: 2,
    firstBranch: 4,
    innerSteps: 3,
    threshold: -1,
  });
  const timesteps = schedule.timesteps(20);
  expect(comparisons.map(({ timestep }) => timestep)).toEqual([
    timesteps[8],
    timesteps[12],
    timesteps[16],
    0,
  ]);
  expect(pairs.size).toBe(4 * 4 * 2);
  expect(pairs.shared.filter(Boolean)).toHaveLength(8);
  expect(pairs.comparisons.slice(0, 8)).toEqual(Array(8).fill(0));
  expect(pairs.prompts.slice(0, 4)).toEqual([0, 1, 0, 1]);
});

test("a segment that the schedule cuts short is still closed", () => {
  const { pairs } = roll({ steps: 6, candidates: 2, firstBranch: 2, innerSteps: 2, threshold: -1 });
  // Segments of steps 2 to 4 and of step 5 alone.
  expect(pairs.timesteps).toEqual([499, 499, 333, 333, 167, 167, 1, 1]);
});

test("at a branch win and lose come from one x_t, the winner's score is the best, and other candidates decide nothing", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 2, max: 5 }), (seed, candidates) => {
      scope(() => {
        const { comparisons, pairs } = roll(
          { steps: 5, candidates, firstBranch: 1, threshold: 0.05 },
          { seed },
        );
        expect(pairs.latentsWin).toBe(pairs.latentsLose);
        expect(pairs.size).toBe(comparisons.flatMap(({ valid }) => valid.filter(Boolean)).length);
        for (const { scores, win, lose, next } of comparisons) {
          for (const [b, w] of win.entries()) {
            const ofPrompt = scores.map((row) => row[b] as number);
            expect(ofPrompt[w]).toBe(Math.max(...ofPrompt));
            expect(ofPrompt[lose[b] as number]).toBe(Math.min(...ofPrompt));
          }
          for (const j of next ?? []) expect(j >= 0 && j < candidates).toBe(true);
        }
      });
    }),
    { numRuns: 30 },
  );
});

test("the same generator state gives the same rollout", () => {
  scope(() => {
    const [a, b] = [1, 1].map((seed) =>
      roll({ steps: 5, candidates: 3, firstBranch: 1, threshold: 0 }, { seed }),
    ) as [Resampled, Resampled];
    expect(a.pairs.nextWin.toNumbers()).toEqual(b.pairs.nextWin.toNumbers());
    expect(a.comparisons).toEqual(b.comparisons);
  });
});

test("a judge of latents costs no decode, one of images one decode a candidate, and strips only what they show", () => {
  const settings = { steps: 4, candidates: 3, firstBranch: 1, threshold: 0 };
  const meter = new WorkMeter();
  roll(settings, { meter });
  // Step 0 and the first branch: one latent a prompt; then all children. Two passes each with guidance.
  expect(meter.take().passes).toMatchObject({ unetSampling: 2 * (2 + 2 + 6 + 6), vaeDecode: 0 });
  const { strips } = roll(settings, { meter, stripPrompts: [1] });
  expect(meter.take().passes.vaeDecode).toBe(3 * 3);
  expect(strips.map(({ comparison, prompt, images }) => [comparison, prompt, images.shape[0]])).toEqual([
    [0, 1, 3],
    [1, 1, 3],
    [2, 1, 3],
  ]);
  const scorer: CandidateScorer = {
    score: (candidates) =>
      scope(() => {
        candidates.image();
        return candidates.image().mean([1, 2, 3]);
      }),
  };
  roll(settings, { meter, scorer, stripPrompts: [1] });
  expect(meter.take().passes.vaeDecode).toBe(3 * 6);
});

test("a rollout leaves its pairs and last latents alive, nothing else", () => {
  const before = liveTensors();
  const { pairs, latents } = roll({ steps: 8, candidates: 3, firstBranch: 2, threshold: 0.01 });
  expect(liveTensors()).toBe(before + 4);
  for (const made of [pairs.latentsWin, pairs.nextWin, pairs.nextLose, latents]) made.dispose();
  expect(liveTensors()).toBe(before);
});

test("no valid pair is an empty list, not an error", () => {
  scope(() => {
    const { pairs } = roll({ steps: 4, candidates: 2, firstBranch: 1, threshold: 1 });
    expect(pairs.size).toBe(0);
    expect(concatPairs([pairs, pairs]).nextWin.shape).toEqual([0, 4, 4, 4]);
  });
});

test("a prompt with a score that is not finite gives no pair there, and the others give theirs", () => {
  const scorer: CandidateScorer = {
    score: ({ x0, timestep }, rows) =>
      scope(() => {
        const broken = rows.map((row) => (row === 1 && timestep > 0 ? Number.NaN : 1));
        return x0.mean([1, 2, 3]).mul(tensor(broken, { dtype: "float32" }));
      }),
  };
  scope(() => {
    const { pairs, comparisons } = roll(
      { steps: 4, candidates: 2, firstBranch: 1, threshold: -1 },
      { scorer },
    );
    expect(comparisons.map(({ finite }) => finite)).toEqual([
      [true, false],
      [true, false],
      [true, true],
    ]);
    expect(pairs.prompts).toEqual([0, 0, 0, 1]);
    expect(pairs.margins.every(Number.isFinite)).toBe(true);
  });
});

test("a judge that gives another number of scores than there are candidates is told so", () => {
  const scorer: CandidateScorer = { score: ({ x0 }) => x0.mean([1, 2]) };
  const settings = { steps: 4, candidates: 2, firstBranch: 1, threshold: 0 };
  expect(() => roll(settings, { scorer })).toThrow(/4 candidates and gave a tensor \[4,4\]/);
});

test("the candidate that goes on is the best one where that is asked for, and random otherwise", () => {
  scope(() => {
    const settings = { steps: 8, candidates: 4, firstBranch: 0, threshold: 0 };
    const ways = (continueFrom: "best" | "random"): boolean[] =>
      roll({ ...settings, continueFrom }).comparisons.flatMap(({ win, next = [] }) =>
        next.map((j, b) => j === win[b]),
      );
    expect(ways("best").every(Boolean)).toBe(true);
    const random = ways("random").filter(Boolean).length;
    expect(random).toBeGreaterThan(0);
    expect(random).toBeLessThan(14);
  });
});

test("the judge is told the timestep that candidates have come to, or the one that they were born at", () => {
  const told: number[] = [];
  const scorer: CandidateScorer = {
    score: ({ x0, timestep }) => {
      told.push(timestep);
      return x0.mean([1, 2, 3]);
    },
  };
  const settings = { steps: 4, candidates: 2, firstBranch: 1, threshold: 0 };
  roll(settings, { scorer });
  roll({ ...settings, judgeTimestep: "source" }, { scorer });
  expect(told).toEqual([251, 1, 0, 501, 251, 1]);
});

test("selecting pairs keeps rows together", () => {
  scope(() => {
    const { pairs } = roll({ steps: 6, candidates: 3, firstBranch: 1, innerSteps: 1, threshold: -1 });
    const places = [3, 0, 5];
    const chosen = selectPairs(pairs, places);
    expect(chosen.timesteps).toEqual(places.map((i) => pairs.timesteps[i]));
    const index = tensor(places, { dtype: "int64" });
    expect(chosen.latentsLose.toNumbers()).toEqual(pairs.latentsLose.indexSelect(0, index).toNumbers());
  });
});
