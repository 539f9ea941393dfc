import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readRun } from "@spo/records";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, type Ended, type Started, startCli } from "./cli.js";
import { makeTinyWorld, PROMPTS } from "./tiny-models.js";

/** CPU seconds of a final run: many times what the preference model takes, which SPO pays from them. */
const SECONDS = 4;

let folder: string;
const at = (...path: string[]): string => join(folder, ...path);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-compare-"));
  const world = await makeTinyWorld(at("world"));
  writeFileSync(at("held-out.txt"), "red fish\nblue sun\n");
  const small = { adapter: "lora", rank: 2 };
  const config = {
    ...{ model: world.model, pairs: [world.pairs], prompts: world.prompts, heldOut: at("held-out.txt") },
    ...{ judge: `spm:${world.spm}`, validator: `spm:${world.spm}` },
    spm: { init: world.spm, steps: 3, batch: 4, evalEvery: 10, warmup: 1, optimizer: { lr: 1e-3 } },
    spo: { ...small, ...{ promptsPerRound: 2, steps: 4, firstBranch: 1, threshold: 0.001, batch: 4 } },
    dpo: { ...small, batch: 4, microBatch: 4, warmup: 1 },
    variants: [
      {
        name: "other",
        title: "SPO, its own",
        spm: { steps: 2 },
        spo: { batch: 2 },
        search: [{}, { beta: 5 }],
      },
    ],
    ...{ seconds: SECONDS, clock: "cpu", seeds: [0, 1], checkpoints: 2 }, // a busy machine's elapsed seconds say little
    search: {
      ...{ seconds: 0.4, checkpoints: 1, seeds: [7, 8] },
      spo: [{ optimizer: { lr: 1e-3 } }, { optimizer: { lr: 1e-2 } }],
      dpo: [{ optimizer: { lr: 1e-3 } }, { beta: 100 }],
    },
    sampling: { steps: 3, guidanceScale: 3, eta: 1 },
    ...{ curve: { seeds: [5], perPrompt: 1 }, report: { seeds: [5, 6], perPrompt: 2 } },
    ...{ jobs: 2, threads: 1 },
  };
  writeFileSync(at("compare.json"), JSON.stringify(config));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const command = (run: string, ...more: string[]): string[] => [
  "compare",
  at("compare.json"),
  "--run",
  at(run),
  ...more,
];

const jsonLines = ({ stdout }: Ended): Record<string, unknown>[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** When the files of a comparison's jobs were last written: in folders of their own, the report lies beside those. */
function timesOf(run: string): [path: string, time: number][] {
  const files = readdirSync(run, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && entry.parentPath !== run,
  );
  return files
    .map(({ parentPath, name }) => join(parentPath, name))
    .map((path): [string, number] => [path, statSync(path).mtimeMs])
    .sort();
}

/** Resolves when the process has printed the words, or has ended. */
function told({ process, ended }: Started, words: string): Promise<unknown> {
  let seen = "";
  const heard = new Promise<void>((resolve) => {
    process.stdout?.on("data", (text: string) => {
      seen += text;
      if (seen.includes(words)) resolve();
    });
  });
  return Promise.race([ended, heard]);
}

interface Facts {
  rows: { name: string; title: string; wins?: { value: number }; seeds?: unknown[] }[];
  trials: Record<string, { isChosen: boolean; settings: object; runs: { validation: number }[][] }[]>;
  runs: Record<string, { seed: number; checkpoints: { step: number; cpuSeconds: number }[] }[]>;
  work: { stage: string; cpuSeconds: number; passes: Record<string, number> }[];
  curves: { method: string; points: { x: number; quality: number; low: number; high: number }[] }[];
  counts: { images: number };
  provenance: Record<string, unknown>;
}
/** CPU seconds of a training's last update. */
function lastUpdate(name: string): number {
  const { events } = readRun(at("whole", name));
  const last = events.findLastIndex(({ type }) => type === "step");
  return (events[last]?.time.cpu as number) - (events[last - 1]?.time.cpu as number);
}

const factsOf = (run: string): Facts => JSON.parse(readFileSync(at(run, "comparison.json"), "utf8"));

describe("spo compare", () => {
  test("searches with the same trials for each method, trains for the same time, and writes one page without scripts", async () => {
    const ended = await cli(command("whole", "--json"));
    expect(ended.stderr).toMatch(/report: .*comparison\.html/);
    expect(ended.code).toBe(0);
    const facts = factsOf("whole");
    expect(facts.rows.map(({ name }) => name)).toEqual(["base", "dpo", "spo", "other"]);
    for (const method of ["dpo", "spo", "other"]) {
      const trials = facts.trials[method] as Facts["trials"][string];
      expect(trials).toHaveLength(2);
      const chosen = trials.filter(({ isChosen }) => isChosen);
      expect(chosen).toHaveLength(1);
      const meanOf = ({ runs }: (typeof trials)[number]): number => {
        expect(runs.map((run) => run.length)).toEqual([1, 1]);
        return runs.flat().reduce((sum, { validation }) => sum + validation, 0) / 2;
      };
      expect(meanOf(chosen[0] as (typeof trials)[number])).toBe(Math.max(...trials.map(meanOf)));
    }
    const stage = (name: string) => facts.work.find((one) => one.stage === name);
    const [spm, spo, dpo] = ["preference model", "SPO, one run", "Diffusion-DPO, one run"].map(stage);
    expect(dpo?.cpuSeconds).toBeGreaterThanOrEqual(SECONDS);
    expect((spm?.cpuSeconds as number) + (spo?.cpuSeconds as number)).toBeGreaterThanOrEqual(SECONDS);
    // As the log has it, the time was not spent before the last update: no training is longer than it has to be.
    for (const { seed, checkpoints } of facts.runs.dpo as Facts["runs"][string])
      expect((checkpoints.at(-1)?.cpuSeconds as number) - lastUpdate(`dpo-seed-${seed}`)).toBeLessThan(
        SECONDS,
      );
    expect(spm?.passes).toMatchObject({ judgeImage: 24, judgeBackward: 24, vaeEncode: 24 });
    expect(spo?.passes.unetBackward).toBeGreaterThan(0);
    expect(dpo?.passes.unetReference).toBe(dpo?.passes.unetPolicy);
    expect(facts.counts.images).toBe(8);
    const page = readFileSync(at("whole", "comparison.html"), "utf8");
    expect(page).not.toMatch(/<script|https?:\/\//);
    expect(page.match(/<img /g)?.length).toBe(4 * 2 * 2);
    // The variant has a preference model of its own, of fewer steps.
    expect(stage("preference model of SPO, its own")?.passes).toMatchObject({ judgeBackward: 16 });
    expect(page).not.toContain(folder);
    expect(JSON.stringify(facts)).not.toContain(folder);
    const events = jsonLines(ended);
    expect(events.at(-1)).toMatchObject({ schema: "spo.compare/1" });
    expect(events.some(({ type }) => type === "chosen")).toBe(true);
  });

  test("called again does nothing anew, and writes the same figures", async () => {
    const before = { ...factsOf("whole"), provenance: null };
    const made = timesOf(at("whole"));
    expect(made.length).toBeGreaterThan(10);
    expect((await cli(command("whole"))).code).toBe(0);
    expect({ ...factsOf("whole"), provenance: null }).toEqual(before);
    expect(timesOf(at("whole"))).toEqual(made);
  });

  test("killed and stopped goes on where it was, and leaves no process behind", async () => {
    const smaller = () => command("broken", "--seeds", "[0]", "--variants", "[]", "--json");
    const killed = startCli(smaller());
    await told(killed, "dpo-trial-0");
    killed.process.kill("SIGKILL");
    await killed.ended; // its pipes are closed once its last child has ended
    const stopped = startCli(smaller());
    await told(stopped, "spo-trial-1");
    stopped.process.kill("SIGINT");
    const ended = await stopped.ended;
    expect(ended.code).toBe(130);
    expect(ended.stderr).toContain("The same command goes on from there");
    const done = readdirSync(at("broken", "evaluations")); // its processes have ended: none is half written
    expect(done.length).toBeGreaterThan(0);
    const kept = new Map(done.map((name) => [name, readFileSync(at("broken", "evaluations", name), "utf8")]));
    const last = await cli(smaller());
    expect(last.code).toBe(0);
    for (const [name, text] of kept)
      expect(readFileSync(at("broken", "evaluations", name), "utf8")).toBe(text);
    expect(existsSync(at("broken", "comparison.html"))).toBe(true);
    expect(factsOf("broken").runs.spo).toHaveLength(1);
  });

  test("refuses trials of unequal number and a fault in any of them before it begins", async () => {
    const ended = await cli(command("refused", "--search.dpo", "[{}]"));
    expect(ended.code).toBe(3);
    expect(ended.stderr).toContain("both methods get the same number of trials");
    const variants = JSON.stringify([{ name: "a", title: "A", search: [{}] }]);
    const uneven = await cli(command("refused", "--variants", variants));
    expect(uneven.code).toBe(3);
    expect(uneven.stderr).toContain("every method gets the same number of trials as spo");
    const misspelt = await cli(command("refused", "--search.dpo", '[{"betta":1},{}]'));
    expect(misspelt.code).toBe(3);
    expect(misspelt.stderr).toContain("did you mean beta?");
    const help = await cli(["compare", "--help"]);
    expect(help.stdout).toContain("--search.seconds");
    expect(PROMPTS.length).toBeGreaterThan(0);
  });
});
