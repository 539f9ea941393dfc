// What the views compute.
import { expect, test } from "vitest";
import type { DataPair, FormSetting, JudgingResults, QueuedJob, RunSummary, StepRow } from "../src/api.ts";
import { alignedData, described, tickLabels } from "./chart-data.ts";
import { filteredPairs } from "./data.tsx";
import { differences, sidesOf } from "./grids.tsx";
import { inTurn } from "./job-queue.tsx";
import { verdictOfVotes } from "./judging-results.tsx";
import { rankWords } from "./overview.tsx";
import { zoomedAt } from "./pair-dialog.tsx";
import { movedMeasures, signsOfHacking } from "./reward-hacking.tsx";
import { filtered } from "./run-list.tsx";
import { viewsOf } from "./run-view.tsx";
import { placeOf, setAt } from "./samples.tsx";
import { flattened } from "./settings.tsx";
import { configOf } from "./start.tsx";
import { requestsOf } from "./steering.tsx";
import { yieldWords } from "./steps.tsx";
import { evenly } from "./timestep-heat.tsx";
import { beginningWords, runsOf } from "./train-on-votes.tsx";
import { duration, sharePercent, short, size } from "./words.ts";

test("a filter lets through what has all its words", () => {
  const run = (name: string, state: RunSummary["state"]) =>
    ({ name, state, kind: "train spo", tags: [name.slice(-1)] }) as RunSummary;
  const runs = [run("grid/a", "running"), run("grid/b", "killed"), run("first", "running")];
  expect(filtered(runs, "GRID spo", "").map(({ name }) => name)).toEqual(["grid/a", "grid/b"]);
  expect(filtered(runs, "b killed", "").map(({ name }) => name)).toEqual(["grid/b"]);
  expect(filtered(runs, "", "running").map(({ name }) => name)).toEqual(["grid/a", "first"]);
  expect(filtered(runs, "grid first", "")).toEqual([]);
});

test("curves of several runs share one axis; a place without a point is no gap, one that is not finite is", () => {
  const curves = [
    { name: "a", x: [1, 3], y: [5, null] },
    { name: "b", x: [2, 3], y: [-1, 7] },
  ];
  expect(alignedData(curves, false)).toEqual([
    [1, 2, 3],
    [5, undefined, null],
    [undefined, -1, 7],
  ]);
  expect(alignedData(curves, true)[2]).toEqual([undefined, null, 7]); // below 0 has no logarithm
  expect(described("loss", curves)).toBe("loss: a from 5 to 5; b from -1 to 7");
});

test("a run has views of steps and samples where it has such, or will have", () => {
  const of = (kind: string, more: object = {}) =>
    viewsOf({ run: { kind } as RunSummary, strips: [], samples: [], ...more });
  expect(of("train spo")).toEqual(["overview", "steps", "samples", "curves", "log", "settings"]);
  expect(of("train dpo")).not.toContain("steps");
  expect(of("train dpo")).toContain("samples");
  expect(of("train spm")).toEqual(["overview", "curves", "log", "settings"]);
  expect(of("train dpo", { strips: [{ round: 0 }] })).toContain("steps");
});

test("a score that rises while another's falls is a sign of reward hacking, and so are images that become alike", () => {
  const measured = (values: Record<string, (number | null)[]>) =>
    movedMeasures(
      Object.entries(values).map(([key, y]) => ({ key, x: y.map((_, i) => i), y, points: y.length })),
    );
  const of = (values: Record<string, (number | null)[]>) => signsOfHacking(measured(values));
  expect(of({ score: [1, 2], "heldOut/clip": [5, 4] })).toEqual([
    "The judge's score has risen, and that by clip has fallen.",
  ]);
  expect(of({ score: [2, 1], "heldOut/clip": [5, 4] })).toEqual([]);
  expect(of({ score: [1, 2], "heldOut/clip": [4, 3, 4.5] })).toEqual([]);
  expect(of({ diversity: [0.5, 0.39] })).toEqual([
    "The images of a prompt have become alike: 78 % of the base's diversity.",
  ]);
  expect(of({ diversity: [0.5, 0.41] })).toEqual([]);
  expect(signsOfHacking(measured({ diversity: [0.5, 0.41] }), 0.9)).toHaveLength(1);
});

test("measures of samples stand from the base to the newest: the judge's first, of the norms the furthest", () => {
  const series = Object.entries({
    "norm/t=1": [1, 1.2],
    diversity: [0.5, 0.4],
    "norm/t=801": [1, 0.5],
    lr: [1, 2],
    "heldOut/clip": [3, null, 4],
    score: [1, null],
  }).map(([key, y]) => ({ key, x: [1, 2], y, points: 2 }));
  expect(movedMeasures(series).map(({ key, from, to }) => [key, from, to])).toEqual([
    ["heldOut/clip", 3, 4],
    ["diversity", 0.5, 0.4],
    ["norm/t=801", 1, 0.5],
  ]);
});

test("a preference model, which draws nothing, is asked for no samples", () => {
  expect(requestsOf("train spm")).toEqual(["save", "stop"]);
  for (const kind of ["train spo", "train dpo"]) expect(requestsOf(kind)).toEqual(["sample", "save", "stop"]);
});

test("a training on votes is its preference model, then its diffusion model", () => {
  const run = (name: string) => ({ name }) as RunSummary;
  const runs = [run("taste-trained-1/spo"), run("taste-trained-10/spm"), run("taste-trained-1/spm")];
  const names = (job: string) => runsOf({ run: job }, runs).map(({ name }) => name);
  expect(names("taste-trained-1")).toEqual(["taste-trained-1/spm", "taste-trained-1/spo"]);
  expect(names("taste-trained-10")).toEqual(["taste-trained-10/spm"]);
  expect(names("taste-trained-2")).toEqual([]);
});

test("zooming leaves the point under the pointer where it is", () => {
  const at = { x: 30, y: -20 };
  const place = zoomedAt({ zoom: 2, x: 5, y: 5 }, 1.5, at);
  for (const axis of ["x", "y"] as const)
    expect((at[axis] - place[axis]) / place.zoom).toBeCloseTo((at[axis] - 5) / 2, 12);
  expect(zoomedAt(place, 0.01, at)).toEqual({ zoom: 1, x: 0, y: 0 });
});

test("evenly chosen rounds keep the first and the last", () => {
  const all = Array.from({ length: 101 }, (_, i) => i);
  expect(evenly(all, 5)).toEqual([0, 25, 50, 75, 100]);
  expect(evenly([1, 2], 5)).toEqual([1, 2]);
});

test("beside stands what another run had drawn by that step, or its first", () => {
  const sets = [2, 8, 16].map((step) => ({ step, images: [] }));
  expect([0, 2, 15, 16, 90].map((step) => setAt(sets, step)?.step)).toEqual([2, 2, 8, 16, 16]);
  expect(setAt([], 3)).toBeUndefined();
});

test("the address chooses the samples; without one the newest are shown", () => {
  expect(["3", "99", null, "x", "-1"].map((asked) => placeOf(10, asked))).toEqual([3, 9, 9, 9, 9]);
});

test("steps without a pair are counted by their reason", () => {
  const rows = [{ valid: true }, { valid: false, why: "tie" }, { valid: false, why: "tie" }] as StepRow[];
  expect(yieldWords(rows)).toBe("1 of 3 steps gave a pair (2 tie).");
});

test("of several processes the slowest is named, and how far it is behind", () => {
  expect(rankWords([2, 3, 2])).toMatch(/^Process 1 computes longest, 50 % more than the others/);
  expect(rankWords([2, 2])).toMatch(/^Process 0 computes longest, 0 % more/);
});

test("settings are named by their path; lists and empty objects stay whole", () => {
  expect(flattened({ a: 1, b: { c: [1, 2], d: null } })).toEqual([
    ["a", 1],
    ["b.c", [1, 2]],
    ["b.d", null],
  ]);
});

test("numbers are written with the figures that matter", () => {
  expect([0, 0.0000123, 12345.678, null, Number.NaN].map(short)).toEqual([
    "0",
    "1.23e-5",
    "12,350",
    "–",
    "–",
  ]);
  expect([0.0123, 12, 3600, 40_000].map(duration)).toEqual(["12 ms", "12 s", "60 min", "11 h 7 min"]);
  expect([0.00418, 0.5, 1e-5].map(sharePercent)).toEqual(["0.42 %", "50 %", "0.001 %"]);
  expect([0, 999, 1234, 926e6].map(size)).toEqual(["0 B", "999 B", "1.23 kB", "926 MB"]);
});

test("a form gives the file that the command reads: what differs from preset and defaults, with its types", () => {
  const setting = (path: string, kind: FormSetting["kind"], fallback?: unknown) =>
    ({ path, kind, type: kind, required: false, default: fallback }) as FormSetting;
  const settings = [
    setting("model", "string"),
    setting("optimizer.lr", "number", 6e-5),
    setting("ema", "boolean", false),
    setting("pairs", "list"),
    setting("resolution", "number", null),
    setting("rounds", "number", 10),
  ];
  const given = {
    model: "./m",
    "optimizer.lr": "3e-5",
    ema: "true",
    pairs: "a, b",
    rounds: "5",
    resolution: "null",
  };
  expect(configOf(settings, given, { rounds: 5 })).toEqual({
    model: "./m",
    optimizer: { lr: 3e-5 },
    ema: true,
    pairs: ["a", "b"],
  });
  expect(configOf(settings, { rounds: "10" }, { rounds: 5 })).toEqual({ rounds: 10 });
});

test("the queue shows what is at work, then what waits as it will start, then what ended, the newest first", () => {
  const jobs = (
    [
      ["a", "ended"],
      ["b", "failed"],
      ["c", "running"],
      ["d", "cancelled"],
      ["e", "waiting"],
      ["f", "waiting"],
    ] as const
  ).map(([run, state]) => ({ run, state }) as QueuedJob);
  expect(inTurn(jobs).map(({ run }) => run)).toEqual(["c", "e", "f", "d", "b", "a"]);
});

test("a training on votes says whose weights it begins with, and how many votes those learned from", () => {
  const jobs = [{ run: "taste-trained-1", votes: 40 } as QueuedJob];
  const training = { next: "taste-trained-2", from: "taste-trained-1", jobs };
  expect(beginningWords(training, 52, false)).toMatch(
    /the model of taste-trained-1, which learned from 40 of the 52 votes, goes on/,
  );
  expect(beginningWords({ ...training, jobs: [] }, 52, false)).toMatch(/taste-trained-1 goes on/);
  expect(beginningWords(training, 52, true)).toMatch(/the base model/);
  expect(beginningWords({ next: "taste-trained-1", jobs: [] }, 40, false)).toMatch(/the base model/);
});

test("the address says which side of a grid is columns, rows and pages; nonsense does not", () => {
  expect(["102", "012", "1", "111", "99", null].map((asked) => sidesOf(3, asked))).toEqual([
    [1, 0, 2],
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 2],
  ]);
});

test("of two pictures the settings that differ are told", () => {
  const picture = (parameters: Record<string, unknown>) => ({ at: [], src: "", parameters });
  const loras = (weight: number) => [{ file: "a", weight }];
  expect(
    differences(
      picture({ seed: 1, steps: 2, loras: loras(1) }),
      picture({ seed: 1, steps: 3, loras: loras(1), eta: 1 }),
    ),
  ).toEqual([
    { name: "steps", values: [2, 3] },
    { name: "eta", values: [undefined, 1] },
  ]);
});

test("pairs are filtered by words, label and what is wrong with them", () => {
  const pair = (prompt: string, label: DataPair["label"], flags: DataPair["flags"]): DataPair => ({
    ...{ prompt, label, flags, split: "train" },
  });
  const pairs = [
    pair("a Cat", "first", []),
    pair("a dog", "tie", ["leak"]),
    pair("a cat", "tie", ["broken", "leak"]),
  ];
  expect(filteredPairs(pairs, "cat train", "", "")).toEqual([0, 2]);
  expect(filteredPairs(pairs, "", "tie", "broken")).toEqual([2]);
  expect(filteredPairs(pairs, "fox", "", "")).toEqual([]);
});

test("the words at a chart's lines differ, also where its values hardly do", () => {
  expect(tickLabels([0, 0.5, 1, null])).toEqual(["0", "0.5", "1", ""]);
  expect(tickLabels([0, 5e-7, 1e-6])).toEqual(["0", "5.00e-7", "1.00e-6"]);
  expect(tickLabels([0.99995, 1, 1.00005])).toEqual(["0.99995", "1.00000", "1.00005"]);
  expect(tickLabels([1, 1.0000000025, 1.000000005])).toEqual([
    "1.0000000000",
    "1.0000000025",
    "1.0000000050",
  ]);
  expect(tickLabels([12345000, 12345010])).toEqual(["12345000", "12345010"]);
  expect(tickLabels([])).toEqual([]);
});

test("votes on pairs without names are counted, and by how many people", () => {
  const of = (votes: number, people: number) =>
    verdictOfVotes({
      ...{ schema: "spo.studio.votes/1", votes, wins: [votes, 0], ties: 0, bothBad: 0, skipped: 0 },
      rate: { value: 0, low: 0, high: 0 },
      labellers: Array.from({ length: people }, () => ({})) as JudgingResults["labellers"],
    });
  expect([of(1, 1), of(35, 1), of(35, 2)]).toEqual([
    "One vote by one person.",
    "35 votes by one person.",
    "35 votes by 2 people.",
  ]);
});
