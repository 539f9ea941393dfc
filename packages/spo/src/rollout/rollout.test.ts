import { type Denoiser, gaussianLogProb, VpSchedule } from "@spo/diffusion";
import { CANDIDATE_PICTURES, WorkMeter } from "@spo/records";
import { cat, Generator, liveTensors, randn, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import type { CandidateScorer } from "../judges/judge.js";
import { drawn } from "./randomness.js";
import { branchRange, type RolloutSettings, rollout } from "./rollout.js";
import type { Segment } from "./transitions.js";

const [B, K, STEPS] = [2, 3, 4];
const process = new VpSchedule();
const denoiser: Denoiser = { samplePasses: 1, forRows: () => (xt) => xt.mul(0.9) };
const settings = { steps: STEPS, candidates: K, firstBranch: 1, threshold: 0 };

/** A rollout whose segments are read, and what came of it. */
function roll<R>(
  read: (segment: Segment) => R,
  given: Partial<RolloutSettings> = {},
  onStep?: (done: number) => void,
) {
  const generator = new Generator(3);
  return rollout(
    {
      ...{ denoiser, process, settings: { ...settings, ...given } },
      decode: (latents: Tensor) => latents,
      scorer: { score: ({ x0 }) => scope(() => x0.mean([1, 2, 3])) },
      initialLatents: randn([B, 4, 2, 2], { generator }),
      randomness: drawn(generator),
      onStep,
    },
    read,
  );
}

test("every segment is read once, with all children, their scores and what they were drawn from", () => {
  scope(() => {
    const { read, latents } = roll(({ transitions, scores, index }) => {
      expect(transitions).toHaveLength(1);
      expect(scores.map((row) => row.length)).toEqual([B, B, B]);
      return { index, ...(transitions[0] as Segment["transitions"][number]) };
    });
    const timesteps = process.timesteps(STEPS);
    expect(read.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(read.map(({ t }) => t)).toEqual(timesteps.slice(1));
    expect(read.map(({ previous }) => previous)).toEqual(
      timesteps.slice(1).map((t) => process.previousTimestep(t, STEPS)),
    );
    for (const { t, previous, branch, from, to, gaussian } of read) {
      expect([branch, from.shape, to.shape]).toEqual([true, [B, 4, 2, 2], [K * B, 4, 2, 2]]);
      // The Gaussian is that of the process at x_t, one for the children of each prompt.
      const { mean, std } = process.step(from, from.mul(0.9), { t, previous, eta: 1 });
      expect(gaussian.std).toEqual(std);
      expect(gaussian.mean.sub(mean).abs().max().item()).toBeLessThan(1e-6);
    }
    const last = read.at(-1) as (typeof read)[number];
    expect(last.to.sub(latents).abs().max().item()).toBe(0);
  });
});

test("the density of what was drawn is that of standard normal noise, for other objectives to compare with", () => {
  scope(() => {
    const { read } = roll(({ transitions }) => transitions[0] as Segment["transitions"][number]);
    const { to, gaussian } = read[0] as (typeof read)[number];
    const std = gaussian.std as number;
    const mean = cat(Array(K).fill(gaussian.mean)); // row j·B + b
    const noise = to.sub(mean).div(std).toNumbers();
    const of = gaussianLogProb(to, { mean, std }).toNumbers();
    const size = noise.length / (K * B);
    const log = (z: number): number => -(z ** 2) / 2 - Math.log(std) - Math.log(2 * Math.PI) / 2;
    for (const [row, value] of of.entries()) {
      const own = noise.slice(row * size, (row + 1) * size).map(log);
      expect(value).toBeCloseTo(own.reduce((sum, each) => sum + each, 0) / size, 4);
    }
  });
});

test("a segment with inner steps has a transition for each, and what is not read is freed", () => {
  const before = liveTensors();
  scope(() => {
    const { read, latents } = roll(({ transitions }) => transitions.map(({ branch }) => branch), {
      innerSteps: 1,
    });
    expect(read).toEqual([[true, false], [true]]);
    expect(liveTensors() - before).toBe(2); // where it began and where it ended
    expect(latents.shape).toEqual([K * B, 4, 2, 2]);
  });
  expect(liveTensors()).toBe(before);
});

test.each([0, 1])(
  "with %i inner steps a later segment holds no more than the one before it",
  (innerSteps) => {
    scope(() => {
      const alive: number[] = [];
      roll(
        () => {},
        { innerSteps, steps: 9 },
        () => alive.push(liveTensors()),
      );
      const ofSegment = innerSteps + 1;
      for (const [step, count] of alive.entries())
        if (step > settings.firstBranch + ofSegment) expect(count).toBe(alive[step - ofSegment]);
    });
  },
);

test("a scorer of latents judges children as they are drawn: one pass a prompt and step, no prediction, no decode", () => {
  const generator = new Generator(3);
  const seen: { timestep: number; xt: number[] }[] = [];
  const meter = new WorkMeter();
  const scorer: CandidateScorer = {
    sees: "latents",
    score: ({ xt, timestep }) => {
      seen.push({ timestep, xt: xt.toNumbers() });
      return scope(() => xt.mean([1, 2, 3]));
    },
  };
  scope(() => {
    const { read, comparisons, latents } = rollout(
      {
        ...{ denoiser, process, scorer, meter },
        settings: { ...settings, firstBranch: 0, judgeTimestep: "source", continueFrom: "best" },
        decode: () => {
          throw new Error("decoded");
        },
        initialLatents: randn([B, 4, 2, 2], { generator }),
        randomness: drawn(generator),
      },
      ({ transitions, comparison }) => ({
        ...(transitions[0] as Segment["transitions"][number]),
        comparison,
      }),
    );
    expect(meter.take().passes).toMatchObject({ unetSampling: STEPS * B, vaeDecode: 0 });
    const timesteps = process.timesteps(STEPS);
    expect(seen.map(({ timestep }) => timestep)).toEqual(timesteps);
    expect(comparisons.map(({ timestep }) => timestep)).toEqual([...timesteps.slice(1), 0]);
    for (const [i, { from, to, comparison }] of read.entries()) {
      expect(seen[i]?.xt).toEqual(to.toNumbers());
      const next = read[i + 1]?.from;
      const best = comparison.win.map((j, b) => to.narrow(0, j * B + b, 1));
      if (next) expect(next.toNumbers()).toEqual(cat(best).toNumbers());
      expect([from.shape[0], to.shape[0]]).toEqual([B, K * B]);
    }
    expect(read.at(-1)?.to.toNumbers()).toEqual(latents.toNumbers());
  });
});

test("with inner steps a scorer of latents judges children where their own steps end", () => {
  const generator = new Generator(3);
  const told: number[] = [];
  scope(() => {
    const { read } = rollout(
      {
        ...{ denoiser, process, settings: { ...settings, firstBranch: 0, innerSteps: 1 } },
        scorer: {
          sees: "latents",
          score: ({ xt, timestep }) => {
            told.push(timestep);
            return scope(() => xt.mean([1, 2, 3]));
          },
        },
        decode: (latents) => latents,
        initialLatents: randn([B, 4, 2, 2], { generator }),
        randomness: drawn(generator),
      },
      ({ transitions }) => transitions.map(({ branch, from }) => [branch, from.shape[0]]),
    );
    const segment = [
      [true, B],
      [false, K * B],
    ];
    expect(read).toEqual([segment, segment]);
    expect(told).toEqual([process.timesteps(STEPS)[2], 0]); // those that they have come to
  });
});

test("what a scorer of latents asks for is predicted then, and so are pictures for people", () => {
  const generator = new Generator(3);
  const meter = new WorkMeter();
  const gaps: number[] = [];
  scope(() => {
    const { strips } = rollout(
      {
        ...{
          denoiser,
          process,
          meter,
          stripPrompts: [1],
          settings: { ...settings, firstBranch: 0, threshold: 2 },
        },
        scorer: {
          sees: "latents",
          score: ({ xt, x0, timestep }) =>
            scope(() => {
              const clean = timestep === 0 ? xt : process.predict(xt, xt.mul(0.9), timestep).x0;
              gaps.push(clean.sub(x0).abs().max().item());
              return x0.mean([1, 2, 3]);
            }),
        },
        decode: (latents) => latents.mul(1),
        initialLatents: randn([B, 4, 2, 2], { generator }),
        randomness: drawn(generator),
      },
      () => undefined,
    );
    expect(gaps).toEqual(Array(STEPS).fill(0));
    expect(strips.map(({ images }) => images.shape)).toEqual(Array(STEPS).fill([K, 4, 2, 2]));
    // The children of all but the last step once more, since the scorer asked for what they predict; the pictures need no further pass.
    const { passes, phases } = meter.take();
    expect(passes).toMatchObject({
      unetSampling: STEPS * B + (STEPS - 1) * K * B,
      vaeDecode: STEPS * K,
    });
    // The judge had nothing decoded, so all of it is the pictures' own.
    expect(Object.keys(phases).sort()).toEqual([CANDIDATE_PICTURES, "judge", "sampling"]);
  });
});

test("a threshold may be one for each step", () => {
  const thresholds = (list: readonly number[]): boolean[] => {
    const generator = new Generator(3);
    return scope(
      () =>
        rollout(
          {
            ...{ denoiser, process, settings: { ...settings, threshold: list } },
            decode: (latents) => latents,
            scorer: { score: ({ x0 }) => scope(() => x0.mean([1, 2, 3])) },
            initialLatents: randn([B, 4, 2, 2], { generator }),
            randomness: drawn(generator),
          },
          ({ comparison }) => comparison.valid.every(Boolean),
        ).read,
    );
  };
  expect(thresholds([2, 0, 2, 0])).toEqual([true, false, true]); // of steps 1 to 3, the first branches at 1
});

test("after the segment of the last branch nothing is sampled, and its children are judged by what is predicted of them", () => {
  scope(() => {
    const seen: number[] = [];
    const part = roll(
      ({ scores }) => scores,
      { lastBranch: 2 },
      (done) => seen.push(done),
    );
    const whole = roll(({ scores }) => scores);
    expect(part.comparisons.map(({ timestep }) => timestep)).toEqual(process.timesteps(STEPS).slice(2));
    expect(part.read).toEqual(whole.read.slice(0, 2)); // the same draws give the same scores
    expect(part.comparisons.map(({ next }) => next === undefined)).toEqual([false, true]);
    expect(part.latents.shape).toEqual([K * B, 4, 2, 2]);
    expect(seen).toEqual([1, 2, 3]);
  });
});

test.each([
  [{ steps: 10, firstBranch: 1 }, 10],
  [{ steps: 10, firstBranch: 1, lastBranch: 7 }, 8],
  [{ steps: 10, firstBranch: 1, lastBranch: 7, innerSteps: 2 }, 10],
  [{ steps: 10, firstBranch: 1, lastBranch: 6, innerSteps: 2 }, 7],
  [{ steps: 10, firstBranch: 4, lastBranch: 4 }, 5],
])("of %o the last children are judged at step %i", (branches, end) => {
  expect(branchRange(branches)).toEqual({ first: branches.firstBranch, end });
});

test("before the first branch steps may go without noise, whatever the candidates' noise is", () => {
  scope(() => {
    const roles = { firstBranch: 2, etaBefore: 0 };
    const starts = [1, 0.3].map(
      (eta) => roll(({ transitions }) => transitions[0]?.from as Tensor, { ...roles, eta }).read[0] as Tensor,
    ) as [Tensor, Tensor];
    expect(starts[0].sub(starts[1]).abs().max().item()).toBe(0);
    const other = roll(({ transitions }) => transitions[0]?.from as Tensor, { firstBranch: 2 }).read[0];
    expect(other?.sub(starts[0]).abs().max().item()).toBeGreaterThan(0.01);
  });
});
