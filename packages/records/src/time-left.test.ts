import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Event } from "./events.js";
import { TimeLeft } from "./time-left.js";

const time = { at: "", wall: 0, cpu: 0 };
const phase = (name: string, done = 0, total = 0, left = 0): Event => ({
  type: "phase",
  name,
  done,
  total,
  left,
  time,
});
const step = (at: number, total: number, progress?: number): Event => ({
  type: "step",
  step: at,
  total,
  metrics: progress === undefined ? {} : { progress },
  time,
});

/**
 * Plays SPO on a fake clock: a rollout of `sampling` s a round, `updates` of `update` s, held-out samples of `drawing` s every `every`
 * rounds.
 */
function play({ rounds = 10, from = 0, sampling = 20, updates = 4, update = 1, drawing = 6, every = 5 }) {
  const left = new TimeLeft();
  let now = 1000;
  const told: { at: number; left: number | undefined }[] = [];
  const see = (event: Event): void => {
    left.see(event, now);
    told.push({ at: now, left: left.secondsLeft(now) });
  };
  const run = (name: string, seconds: number, more: number): void => {
    for (let i = 0; i <= 10; i++) {
      if (i > 0) now += seconds / 10;
      see(phase(name, i, 10, more));
    }
  };
  see(phase("loading the model"));
  now += 300; // long, and never again
  if (from === 0) run("drawing held-out samples", drawing, rounds / every);
  for (let round = from; round < rounds; round++) {
    run("sampling", sampling, rounds - round - 1);
    for (let i = 0; i < updates; i++) {
      see(phase("updating", i, updates));
      now += update;
      see(step(round + 1, rounds, (round + (i + 1) / updates) / rounds));
    }
    if ((round + 1) % every === 0) run("drawing held-out samples", drawing, (rounds - round - 1) / every);
  }
  return told.map(({ at, left: found }) => ({ left: found, truth: now - at }));
}

test("from the first update on, the rollouts, updates and held-out samples that are still to come are all counted", () => {
  const told = play({});
  const known = told.filter(({ left }) => left !== undefined);
  expect(known.length).toBeGreaterThan(100);
  for (const { left, truth } of known) expect(Math.abs((left as number) - truth)).toBeLessThan(1.5);
  expect(told.at(-1)?.left).toBeCloseTo(0, 9);
});

test("before the first update nothing is claimed", () => {
  const told = play({});
  expect(told.slice(0, 24).every(({ left }) => left === undefined)).toBe(true);
});

test("a resumed training reckons from what it has done itself", () => {
  for (const { left, truth } of play({ from: 7 })
    .filter(({ left: found }) => found !== undefined)
    .slice(0, 20))
    expect(Math.abs((left as number) - truth)).toBeLessThan(8); // the held-out samples have not been seen yet
});

test("a training without rollouts counts its steps and its measurements", () => {
  const left = new TimeLeft();
  let now = 0;
  const measure = (more: number): void => {
    left.see(phase("measuring", 0, 2, more), now);
    now += 8;
    left.see(phase("measuring", 2, 2, more), now);
  };
  measure(2);
  for (let at = 1; at <= 4; at++) {
    left.see(phase("updating"), now);
    now += 3;
    left.see(step(at, 8), now);
  }
  expect(left.secondsLeft(now)).toBeCloseTo(4 * 3 + 2 * 8, 9);
  measure(1);
  expect(left.secondsLeft(now)).toBeCloseTo(4 * 3 + 8, 9);
});

test("a training that tells of no phases is reckoned from the end of its first step on", () => {
  const left = new TimeLeft();
  left.see(step(1, 10), 100);
  expect(left.secondsLeft(100)).toBeUndefined();
  left.see(step(2, 10), 103);
  expect(left.secondsLeft(103)).toBe(24);
});

test("a first update that takes longer, as it chooses kernels, does not stand for those to come", () => {
  const left = new TimeLeft();
  left.see(phase("updating"), 0);
  left.see(step(1, 40), 20);
  expect(left.secondsLeft(20)).toBe(39 * 20);
  left.see(step(2, 40), 22);
  expect(left.secondsLeft(22)).toBe(38 * 2);
});

test("what follows what a phase counts is its own, as scoring follows drawing, and is waited for", () => {
  const left = new TimeLeft();
  let now = 0;
  const draw = (more: number): void => {
    left.see(phase("drawing held-out samples", 0, 4, more), now);
    left.see(phase("drawing held-out samples", 4, 4, more), now + 2);
    now += 5;
  };
  draw(2);
  for (let at = 1; at <= 4; at++) {
    left.see(phase("updating"), now);
    left.see(step(at, 8), ++now);
  }
  expect(left.secondsLeft(now)).toBe(4 + 2 * 5);
  draw(1);
  expect(left.secondsLeft(now - 1)).toBe(4 + 5 + 1);
});

test("saving is work of its own, and the last one, of the result, is as long as a checkpoint", () => {
  const left = new TimeLeft();
  let now = 0;
  for (let at = 1; at <= 6; at++) {
    left.see(phase("updating"), now);
    left.see(step(at, 8), ++now);
    if (at % 4 !== 0) continue;
    left.see(phase("saving", 0, 1, 2), now);
    left.see(phase("saving", 1, 1, 2), ++now);
  }
  expect(left.secondsLeft(now)).toBe(2 + 2 * 1);
});

test("one work that took far longer than others of its kind counts as twice the middle one", () => {
  const left = new TimeLeft();
  let now = 0;
  for (const [i, seconds] of [4, 4, 40].entries()) {
    left.see(phase("measuring", 0, 2, 3 - i), now);
    now += seconds;
    left.see(phase("measuring", 2, 2, 3 - i), now);
    left.see(phase("updating"), now);
    left.see(step(i + 1, 6), ++now);
  }
  expect(left.secondsLeft(now)).toBeCloseTo(3 + (4 + 4 + 8) / 3, 9);
});

test("when the pace changes, the newest fifty updates tell", () => {
  const left = new TimeLeft();
  for (let at = 1; at <= 100; at++) left.see(step(at, 300), at);
  for (let at = 101; at <= 150; at++) left.see(step(at, 300), 100 + 3 * (at - 100));
  expect(left.secondsLeft(250)).toBeCloseTo(150 * 3, 9);
});

/**
 * A training of known truth: updates of 1 s, a measurement of 8 s each 25 steps, a checkpoint of 3 s each 40 and twice as long for the
 * result, a last measurement of four times the pairs; from step `slow` on all takes twice as long. Errors, relative to the truth, from the
 * 20th step until a twentieth is left.
 */
function known({ steps = 400, slow = Number.POSITIVE_INFINITY, jitter = 0 }): Map<number, number> {
  const left = new TimeLeft();
  const told = new Map<number, { at: number; left: number }>();
  let now = 0;
  let drawn = 20_261_201;
  const last = (seconds: number, at: number): void => {
    drawn = (drawn * 48_271) % 2_147_483_647; // pauses come by chance, and the same each time
    now += seconds * (at >= slow ? 2 : 1) * (1 + jitter * (drawn / 2_147_483_647 - 0.5));
  };
  const work = (name: string, at: number, [seconds, total, more]: [number, number, number]): void => {
    left.see(phase(name, 0, total, more), now);
    last(seconds / 2, at);
    left.see(phase(name, total / 2, total, more), now);
    last(seconds / 2, at);
    left.see(phase(name, total, total, more), now);
  };
  work("measuring", 0, [8, 80, steps / 25]);
  work("saving", 0, [3, 1, steps / 40]);
  for (let at = 1; at <= steps; at++) {
    left.see(phase("updating"), now);
    last(at === 1 ? 15 : 1, at);
    left.see(step(at, steps), now);
    if (at >= 20) told.set(at, { at: now, left: left.secondsLeft(now) as number });
    if (at % 25 === 0) work("measuring", at, at === steps ? [32, 320, 0] : [8, 80, (steps - at) / 25]);
    if (at % 40 === 0) work("saving", at, [at === steps ? 6 : 3, 1, (steps - at) / 40]);
  }
  const rows = [...told].filter(([, { at }]) => now - at > now / 20);
  return new Map(rows.map(([at, { at: then, left: found }]) => [at, found / (now - then) - 1]));
}
const worst = (errors: Iterable<number>): number => Math.max(...[...errors].map(Math.abs));

test("with measurements, checkpoints and works that scatter by 20 %, a tenth is never missed while a longer end is far", () => {
  // Nothing tells of the longer last measurement before it begins: in the last third it weighs up to a tenth.
  const early = (errors: Map<number, number>): number[] =>
    [...errors].filter(([at]) => at < 500).map(([, error]) => error);
  expect(early(known({ steps: 800 }))).toHaveLength(480);
  expect(worst(early(known({ steps: 800 })))).toBeLessThan(0.1);
  expect(worst(early(known({ steps: 800, jitter: 0.4 })))).toBeLessThan(0.1);
});

test("a measurement that counts to more is as much longer, from its beginning on", () => {
  const left = new TimeLeft();
  let now = 0;
  for (const [i, total] of [80, 80, 320].entries()) {
    left.see(phase("measuring", 0, total, 2 - i), now);
    if (i === 2) expect(left.secondsLeft(now)).toBeCloseTo(32 + 1, 9);
    now += total / 10;
    left.see(phase("measuring", total, total, 2 - i), now);
    left.see(phase("updating"), now);
    left.see(step(i + 1, 3), ++now);
  }
});

test("a work of which nothing was told but its beginning is counted too", () => {
  const left = new TimeLeft();
  let now = 0;
  for (let i = 1; i <= 10; i++) {
    left.see(phase("updating"), now);
    left.see(step(i, 20), ++now);
    left.see(phase("saving", 0, 1, 20 - i), now);
    now += 0.5;
  }
  left.see(phase("updating"), now);
  expect(left.secondsLeft(now)).toBeCloseTo(10 * 1.5, 9);
});

test("fifty updates after all has become twice as slow, the rare measurements are counted so, too", () => {
  const errors = [...known({ steps: 800, slow: 300 })].filter(([at]) => at >= 351 && at < 600);
  expect(errors.length).toBeGreaterThan(200);
  expect(worst(errors.map(([, error]) => error))).toBeLessThan(0.1);
});

/**
 * Of trainings on the embedded example, with measurements, samples and saves: CPU seconds, then a phase's name, done, total and left, or a
 * step's number, total and progress.
 *
 * The quickstart's `train spo` as it ran. Each smaller one was made twice, and of each part the shorter time counts: others used the
 * machine too, and a step of equal work took up to half as long again.
 */
const recorded = (name: string): ({ 0: number; 1: string; 2: unknown } & unknown[])[] =>
  readFileSync(new URL(`./recorded-${name}.fixture.jsonl`, import.meta.url), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

test.each([
  { of: "dpo", usual: 0.05, most: 0.09 },
  { of: "spm", usual: 0.09, most: 0.11 },
  { of: "small-spo", usual: 0.05, most: 0.1 },
  { of: "spo", usual: 0.06, most: 0.1 },
])(
  "of the recorded training $of the time left is told within $usual as a rule from its 20th step on, and within $most always",
  ({ of, usual, most }) => {
    const rows = recorded(of);
    const left = new TimeLeft();
    const end = rows.at(-1)?.[0] as number;
    const errors: number[] = [];
    for (const row of rows) {
      const { 0: at, 1: type, 2: what } = row;
      if (type === "done") break;
      const isStep = type === "step";
      const [done, total, more] = row.slice(3) as [number, number, number];
      left.see(
        isStep ? step(Number(what), done, total ?? undefined) : phase(String(what), done, total, more),
        at,
      );
      const told = left.secondsLeft(at);
      if (isStep && Number(what) >= 20 && end - at > end / 20)
        errors.push(Math.abs((told as number) - (end - at)) / (end - at));
    }
    errors.sort((a, b) => a - b);
    expect(errors.length).toBeGreaterThan(30);
    expect(errors[Math.floor(0.8 * errors.length)]).toBeLessThan(usual);
    expect(errors.at(-1)).toBeLessThan(most);
  },
);
