import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join, relative } from "node:path";
import { setTimeout } from "node:timers/promises";
import { checkCheckpoint, computedPart, listCheckpoints, readRun } from "@spo/records";
import { readSafetensors } from "@spo/torch";
import { loadSpm } from "spo";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, type Ended, type Started, startCli, words } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-training-"));
  world = await makeTinyWorld(at("world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Command lines without the run's folder. The output is named, so that the same command in another folder has the same config. */
const spmCommand = (run: string): string[] => [
  ...words("train spm --steps 14 --batch 4 --eval-every 7 --save-every 3 --warmup 2 --optimizer.lr 1e-3"),
  ...["--model", world.model, "--init", world.spm, "--pairs", world.pairs, "--run", at(run)],
];
const spoCommand = (run: string): string[] => [
  ...words(
    "train spo --rounds 7 --prompts-per-round 2 --steps 4 --first-branch 1 --threshold 0.01 --save-every 2",
  ),
  ...words("--strip-every 3 --batch 2 --ema 0.2 --optimizer.lr 3e-3"),
  ...["--model", world.model, "--spm", world.spm, "--prompts", world.prompts, "--run", at(run)],
];
/** The same for a process that has another current folder. */
const fromFolder = (cwd: string, args: readonly string[]): string[] =>
  args.map((arg) => (isAbsolute(arg) ? relative(cwd, arg) : arg));
const commands = { "train spm": spmCommand, "train spo": spoCommand };

/** What a run computed: its events without times and paths, and every byte of its result and of its last state. */
function outcomeOf(run: string): object {
  const { events } = readRun(at(run));
  const bytes = (path: string): string => readFileSync(path).toString("base64");
  const output = join(at(run), "model");
  const last = listCheckpoints(join(at(run), "checkpoints")).at(-1)?.folder as string;
  return {
    events: computedPart(events).map((event) => (event.type === "done" ? { ...event, result: null } : event)),
    result: readdirSync(output)
      .filter((name) => name.endsWith(".safetensors"))
      .map((name) => [name, bytes(join(output, name))]),
    state: bytes(join(last, "training-state.safetensors")),
  };
}

/** Resolves when the process has printed so many events, or has ended. */
async function eventsOf({ process, ended }: Started, count: number): Promise<void> {
  let seen = 0;
  await Promise.race([
    ended,
    new Promise<void>((resolve) => {
      process.stdout?.on("data", (text: string) => {
        seen += text.split("\n").length - 1;
        if (seen >= count) resolve();
      });
    }),
  ]);
}

const jsonLines = ({ stdout }: Ended): Record<string, unknown>[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("an unbroken run by the command line", () => {
  test("trains a preference model that loads again, and measures it by timestep", async () => {
    const ended = await cli([...spmCommand("spm"), "--json"]);
    expect(ended.stderr).toContain("finished");
    expect(ended.code).toBe(0);
    const events = jsonLines(ended);
    expect(events.every(({ schema }) => schema === "spo.event/1")).toBe(true);
    expect(events.filter(({ type }) => type === "step")).toHaveLength(14);
    expect(events.at(-1)).toMatchObject({ type: "done", result: { output: join(at("spm"), "model") } });
    const { spm } = loadSpm(join(at("spm"), "model"));
    const before = loadSpm(world.spm).spm.namedParameters();
    const changed = [...spm.namedParameters()].filter(([name, value]) =>
      Boolean(
        value
          .ne(before.get(name) as typeof value)
          .any()
          .item(),
      ),
    );
    expect(changed.length).toBeGreaterThan(10);
    expect(readRun(at("spm")).events.filter(({ type }) => type === "eval")).toHaveLength(3);
  });

  test("post-trains with SPO: the LoRA moves and win comes to be likelier than lose", async () => {
    const ended = await cli(spoCommand("spo"));
    expect(ended).toMatchObject({ code: 0, stdout: "" });
    const steps = readRun(at("spo")).events.flatMap((event) =>
      event.type === "step" ? [event.metrics] : [],
    );
    expect(steps[0]?.loss).toBeCloseTo(Math.LN2, 4);
    const late = steps.slice(-6);
    const mean = late.reduce((sum, { loss }) => sum + (loss as number), 0) / late.length;
    expect(mean).toBeLessThan(Math.LN2);
    const lora = readSafetensors(join(at("spo"), "model", "pytorch_lora_weights.safetensors"));
    const up = [...lora].filter(([name]) => name.endsWith("lora_up.weight"));
    expect(up.length).toBeGreaterThan(4);
    expect(up.every(([, value]) => value.abs().max().item() > 0)).toBe(true);
  });

  test("called again says that it is finished, and changes nothing", async () => {
    const before = readFileSync(join(at("spo"), "events.jsonl"), "utf8");
    const ended = await cli(spoCommand("spo"));
    expect(ended.code).toBe(0);
    expect(ended.stderr).toMatch(/is finished/);
    expect(readFileSync(join(at("spo"), "events.jsonl"), "utf8")).toBe(before);
  });
});

describe.each(["train spm", "train spo"] as const)("%s", (kind) => {
  const unbroken = kind.slice(-3);

  test("killed at random moments and resumed computes, bit for bit, what the unbroken run did", async () => {
    const run = `${unbroken}-killed`;
    const moments: string[] = [];
    for (let kill = 0; kill < 3; kill++) {
      const started = startCli([...commands[kind](run), "--json"]);
      const [events, pause] = [1 + Math.floor(Math.random() * 6), Math.random() * 60];
      moments.push(`${events} events + ${pause.toFixed(0)} ms`);
      await eventsOf(started, events);
      await setTimeout(pause);
      started.process.kill("SIGKILL");
      await started.ended;
    }
    // Moved, and called from elsewhere by other words for the same places.
    const moved = `${run}-moved`;
    renameSync(at(run), at(moved));
    const ended = await cli(fromFolder(at("world"), commands[kind](moved)), { cwd: at("world") });
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringContaining("going on with") });
    expect(outcomeOf(moved), `killed after ${moments.join(", ")}`).toEqual(outcomeOf(unbroken));
  });

  test.each([
    ["SIGINT", 130] as const,
    kind === "train spm" ? (["SIGUSR1", 138] as const) : (["SIGTERM", 143] as const),
  ])("on %s finishes its step, saves it, exits with %i and goes on bit for bit", async (signal, code) => {
    const run = `${unbroken}-${signal}`;
    const ended = await cli([...commands[kind](run), "--json"], {
      signal: { name: signal, afterLines: 2 },
    });
    expect(ended.code).toBe(code);
    expect(ended.stderr).toMatch(/its state is kept at step \d+\. The same command goes on from there/);
    expect(jsonLines(ended).at(-1)).toMatchObject({ schema: "spo.error/1", code: "INTERRUPTED" });
    const { events, checkpoints } = readRun(at(run));
    const steps = events.flatMap((event) => (event.type === "step" ? [event.step] : []));
    const last = checkpoints.at(-1);
    expect(last?.step).toBe(Math.max(...steps));
    expect(last && checkCheckpoint(last).fault).toBeUndefined();
    // By its own settings alone.
    expect((await cli([...words(kind), "--run", at(run)])).code).toBe(0);
    expect(outcomeOf(run)).toEqual(outcomeOf(unbroken));
  });
});

test("Ctrl-C within a long step is answered at once, a second one ends it, and the folder can be gone on with", async () => {
  // A round of minutes, in which JavaScript hears nothing: no machine ends it before the second press.
  const command = [
    ...words("train spo --rounds 2 --prompts-per-round 64 --steps 100 --candidates 16 --threshold 0.01"),
    ...words("--batch 8 --samples 1 --json"),
    ...["--model", world.model, "--spm", world.spm, "--prompts", world.prompts, "--run", at("twice")],
  ];
  const started = startCli(command);
  const told = (stream: "stdout" | "stderr", words: string): Promise<void> =>
    new Promise((resolve) => {
      let heard = "";
      started.process[stream]?.on("data", (text: string) => {
        heard += text;
        if (heard.includes(words)) resolve();
      });
    });
  const answered = told("stderr", "once more ends at once");
  await told("stdout", '"name":"sampling"'); // a sample and its measure come before the first round
  await setTimeout(1000);
  started.process.kill("SIGINT");
  const pressed = performance.now();
  await Promise.race([answered, started.ended]);
  expect(performance.now() - pressed).toBeLessThan(20_000); // a few milliseconds, and not what the round takes
  await setTimeout(400); // a shorter pause counts as one press
  started.process.kill("SIGINT");
  const ended = await started.ended;
  expect(ended.signal).toBe("SIGINT");
  const { events, checkpoints } = readRun(at("twice"));
  expect(events.map(({ type }) => type)).toEqual(["start", "data", "sample", "eval"]);
  expect(checkpoints).toEqual([]);
  const again = await cli(command, { signal: { name: "SIGKILL", afterLines: 1 } });
  expect(again.stdout).toContain("spo.event/1");
});
