// @ts-check
import { describe, expect, test } from "vitest";
import { pageOf } from "./page.mjs";
import { runSteps } from "./run-steps.mjs";
import { stepsOf } from "./steps.mjs";
import { farthest, stepsIn } from "./training-steps.mjs";

/** @typedef {import("./run-steps.mjs").Step} Step */

/** @param {string} name @param {Step["run"]} run @param {number} [limit] @returns {Step} */
const stepOf = (name, run, limit = 60) => ({ name, what: "", limit, run });

/** @param {string} code @returns {[string, string[]]} */
const node = (code) => [process.execPath, ["-e", code]];

describe("running steps", () => {
  test("gives figures, and goes on after what fails, does not end, or has numbers that must not be", async () => {
    /** @type {number[]} */
    const kept = [];
    const outcomes = await runSteps(
      [
        stepOf("fails", async (shell) => ({
          said: await shell(...node("console.log('so far'); process.exit(3)")),
        })),
        stepOf(
          "never ends",
          async (shell) => ({ said: await shell(...node("setInterval(() => {}, 1000)")) }),
          0.3,
        ),
        stepOf("is wrong", async () => ({ loss: 2, fault: "the losses differ" })),
        stepOf("is right", async (shell) => ({
          said: await shell(...node("console.log(process.env.WORD)"), { env: { WORD: "yes" } }),
        })),
        stepOf("allows 1", async (shell) => ({
          said: await shell(...node("console.log('{}'); process.exit(1)"), { allows: 1 }),
        })),
        stepOf("is killed", async (shell) => ({
          said: await shell(...node("console.log('one'); setInterval(() => {}, 1000)"), { killAfter: /one/ }),
        })),
      ],
      { seconds: 60, keep: (sofar) => kept.push(sofar.length) },
    );
    expect(
      outcomes.map(({ state, fault, figures }) => [state, fault?.split("\n").at(-2) ?? fault, figures]),
    ).toEqual([
      ["failed", "so far", {}],
      ["failed", "not done within 0 s", {}],
      ["failed", "the losses differ", { loss: 2 }],
      ["ok", null, { said: "yes\n" }],
      ["ok", null, { said: "{}\n" }],
      ["ok", null, { said: "one\n" }],
    ]);
    expect(kept).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("leaves out what has no time left", async () => {
    const [outcome] = await runSteps([stepOf("late", async () => ({}))], { seconds: 0 });
    expect(outcome).toMatchObject({ state: "left out", fault: "no time was left" });
  });
});

describe("the steps", () => {
  const [dry, full] = [true, false].map((dryRun) =>
    stepsOf({ device: dryRun ? "cpu" : "cuda:1", dryRun, folder: "work" }),
  );

  test("of a dry run are among those of a GPU, and no two have one name", () => {
    const names = (full ?? []).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining((dry ?? []).map(({ name }) => name)));
    expect(dry?.length).toBe(8);
  });

  /** What a step gives where its trainings print these losses, one after the other. @param {string} name @param {number[][]} losses */
  async function figuresOf(name, ...losses) {
    /** @type {string[][]} */
    const commands = [];
    const figures = await full
      ?.find((step) => step.name === name)
      ?.run(async (_, [, ...words], options) => {
        commands.push(words);
        const printed = losses[commands.length - 1] ?? [];
        const first = 1 + (losses[0] ?? []).length - printed.length;
        return options?.killAfter ? "" : printed.map((loss, i) => line(first + i, loss)).join("\n");
      });
    return { commands, figures };
  }

  test("compare a training that goes on with the end of the unbroken one", async () => {
    const { commands, figures } = await figuresOf("kill and resume", [0.7, 0.6, 0.5], [], [0.6, 0.5]);
    expect(figures).toEqual({ steps: 2, difference: 0, fault: null });
    expect(commands[1]).toEqual(commands[2]);
    expect(commands[0]).toEqual(expect.arrayContaining(["--device", "cuda:1"]));
    const wrong = await figuresOf("kill and resume", [0.7, 0.6, 0.5], [], [0.6, 0.3]);
    expect(wrong.figures?.fault).toContain("differ by 0.4");
  });

  test("start two processes on one device", async () => {
    const { commands, figures } = await figuresOf("two processes", [0.7], [0.7]);
    expect(commands[1]?.slice(0, 5)).toEqual(["launch", "--nproc", "2", "--", "spo"]);
    expect(figures?.fault).toBe(null);
  });
});

/** @param {number} step @param {number | null} loss */
const line = (step, loss) => JSON.stringify({ type: "step", step, metrics: { loss, gradNorm: 1 } });

test("a training's output is read as its steps; a loss that is no number, and no step, are faults", () => {
  const steps = stepsIn(`${line(1, 0.5)}\n{"type":"done"}\nfinished\n${line(2, 0.25)}\n`);
  expect(steps.map(({ metrics }) => metrics.loss)).toEqual([0.5, 0.25]);
  expect(() => stepsIn(line(4, null))).toThrow("the loss of step 4 is null");
  expect(() => stepsIn("nothing")).toThrow("no step");
  expect(farthest(steps, steps)).toBe(0);
  expect(farthest(steps, steps.slice(1))).toBe(Number.POSITIVE_INFINITY);
  expect(farthest(stepsIn(line(1, 0.5)), stepsIn(line(1, 0.75)))).toBe(0.5);
});

test("the page has a row for each step and tells what failed", () => {
  const page = pageOf({
    started: "2026-01-02T03:04:05Z",
    ...{ device: "cuda", dryRun: false },
    machine: { cpu: "A CPU", cores: 2, vectors: "", memoryGiB: 8, system: "Linux", loadAverage: 0 },
    steps: [
      {
        name: "a | b",
        what: "works",
        state: "ok",
        seconds: 1.25,
        gpuPeakMiB: 512,
        figures: { loss: 0.123456, steps: 3 },
        fault: null,
      },
      {
        name: "c",
        what: "",
        state: "failed",
        seconds: 0,
        gpuPeakMiB: null,
        figures: {},
        fault: "one\n```two",
      },
    ],
  });
  expect(page).toContain("1 steps ok, 1 failed, 0 left out.");
  expect(page).toContain("| a \\| b | works | ok | 1.3 | 512 | loss 0.1235, steps 3 |");
  expect(page).toContain("| c |  | failed | 0.0 |  |  |");
  expect(page).toContain("## c\n\n```\none\n'''two\n```");
});
