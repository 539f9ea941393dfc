import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { loadTokenizer } from "@spo/diffusion";
import type { Event } from "@spo/records";
import { writeSpm, writeUnet } from "./models.js";
import type { Case, Question } from "./question.js";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = here("../../packages/cli/bin/spo.js");
const EXAMPLE = here("../../examples/emoji");

/** Steps of a training, rounds of `train spo`, of which the first warms up. */
const STEPS = 5;
/** Clock ticks a second of `/proc/PID/stat`, on every Linux. */
const TICKS = 100;

const PAIRS = ["--pairs", join(EXAMPLE, "data/pairs.parquet")];
const TRAININGS = {
  spo: [
    ...["--prompts", join(EXAMPLE, "prompts/train.txt"), "--samples", "0"],
    ..."--prompts-per-round 8 --steps 10 --first-branch 2 --candidates 4 --threshold 0 --guidance-scale 1".split(
      " ",
    ),
    ...`--batch 64 --micro-batch 16 --rounds ${STEPS}`.split(" "),
  ],
  spm: [...PAIRS, "--eval-pairs", "0", ...`--batch 32 --micro-batch 8 --steps ${STEPS}`.split(" ")],
  dpo: [
    ...PAIRS,
    "--adapter",
    "lora",
    "--eval-pairs",
    "0",
    ...`--batch 32 --micro-batch 8 --steps ${STEPS}`.split(" "),
  ],
};

/** One training's step: seconds on the clock, and of all processes' cores together. */
interface Cost {
  wall: number;
  cpu: number;
}

const question: Question = {
  question:
    "How many times as fast do two processes with a core each train as one with one core? Efficiency is half of that; Linux's taskset pins them. The machine gives less than two cores too: two trainings that know nothing of each other, a core each, against one.",
  prepare: (folder) => {
    cpSync(join(EXAMPLE, "model"), join(folder, "wide"), { recursive: true });
    rmSync(join(folder, "wide", "unet"), { recursive: true });
    writeUnet(join(folder, "wide", "unet"), [64, 128, 256]);
    const { vocabulary } = loadTokenizer(join(EXAMPLE, "model", "tokenizer")).options;
    writeSpm(join(folder, "spm"), Object.keys(vocabulary).length);
  },
  cases: (folder) => {
    const models = {
      "the embedded model": join(EXAMPLE, "model"),
      "a UNet twice as wide": join(folder, "wide"),
    };
    const all = Object.entries(models).flatMap(([name, model]) =>
      Object.entries(TRAININGS).map(([kind, words]) => {
        const judge = kind === "dpo" ? [] : [kind === "spm" ? "--init" : "--spm", join(folder, "spm")];
        return { name: `train ${kind}, ${name}`, kind, words: [...words, ...judge, "--model", model] };
      }),
    );
    // A process then samples as many prompts at once as one alone does of the others' rounds.
    const larger = all
      .filter(({ kind }) => kind === "spo")
      .map(({ name, kind, words }) => ({
        ...{ name: `${name}, 16 prompts a round`, kind },
        words: words.map((word, i) => (words[i - 1] === "--prompts-per-round" ? "16" : word)),
      }));
    return [...all, ...larger].map(({ name, kind, words }) => scaling(name, kind, words));
  },
};
export default question;

/** How a turn's trainings are made: by one process, by two together, and by two that know nothing of each other. */
const WAYS = ["one", "two", "apart"] as const;
type Way = (typeof WAYS)[number];

/** A turn is the same training in each way; the order changes from turn to turn. */
function scaling(name: string, kind: string, words: readonly string[]): Case {
  const found: Record<Way, Cost[]> = { one: [], two: [], apart: [] };
  return {
    name,
    shapes: words.filter((word) => !word.includes("/")).join(" "),
    rounds: 2,
    run: async () => {
      const turn = found.one.length;
      for (const i of WAYS.keys()) {
        const way = WAYS[(i + turn) % WAYS.length] as Way;
        found[way].push(await costOf(way, kind, words));
      }
    },
    facts: () => {
      const least = (way: Way, of: keyof Cost): number => Math.min(...found[way].map((cost) => cost[of]));
      const efficiency = least("one", "wall") / (2 * least("two", "wall"));
      const machine = least("one", "wall") / least("apart", "wall");
      return {
        "wall of one": least("one", "wall"),
        "wall of two": least("two", "wall"),
        "wall of each apart": least("apart", "wall"),
        "cpu of one": least("one", "cpu"),
        "cpu of two": least("two", "cpu"),
        "cpu of both apart": least("apart", "cpu"),
        efficiency,
        "efficiency of the machine": machine,
        "efficiency of what the machine gives": efficiency / machine,
        lost: 1 - efficiency,
        "work added": least("two", "cpu") / least("one", "cpu") - 1,
        "work added by the machine": least("apart", "cpu") / (2 * least("one", "cpu")) - 1,
      };
    },
    limits: { lost: 0.1 },
  };
}

/** Of a step, the mean of all but the first; apart: the wall of the mean process, while both run. Throws where a process fails. */
async function costOf(way: Way, kind: string, words: readonly string[]): Promise<Cost> {
  const folder = mkdtempSync(join(process.env.TMPDIR ?? "/tmp", "spo-scaling-"));
  const port = await freePort();
  const size = way === "one" ? 1 : 2;
  const environmentOf = (rank: number): NodeJS.ProcessEnv => ({
    ...process.env,
    OMP_NUM_THREADS: "1",
    ...(way === "two" && {
      ...{ RANK: `${rank}`, WORLD_SIZE: `${size}` },
      ...{ MASTER_ADDR: "127.0.0.1", MASTER_PORT: `${port}` },
    }),
  });
  const ranks = Array.from({ length: size }, (_, rank) => {
    const run = join(folder, way === "apart" ? `${rank}` : "together");
    const told = [PROGRAM, "train", kind, ...words, "--run", run, "--json", "--quiet"];
    return spawn("taskset", ["-c", `${rank}`, process.execPath, ...told], {
      stdio: ["ignore", way === "two" && rank > 0 ? "ignore" : "pipe", "pipe"],
      env: environmentOf(rank),
    });
  });
  try {
    const ended = Promise.all(ranks.map(endOf));
    const tellers = way === "two" ? ranks.slice(0, 1) : ranks;
    const costs = await Promise.all(
      tellers.map((teller) => costOfStep(teller, way === "two" ? ranks : [teller])),
    );
    await ended;
    const sum = (of: keyof Cost): number => costs.reduce((all, cost) => all + cost[of], 0);
    return { wall: sum("wall") / costs.length, cpu: sum("cpu") };
  } finally {
    for (const each of ranks) each.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The mean of all steps but the first that a process tells of. ranks: whose cores count. */
async function costOfStep(teller: ChildProcess, ranks: readonly ChildProcess[]): Promise<Cost> {
  const marks = new Map<number, Cost>();
  for await (const line of createInterface({ input: teller.stdout as NodeJS.ReadableStream })) {
    const event = JSON.parse(line) as Event;
    if (event.type !== "step" || marks.has(event.step)) continue;
    const cpu = ranks.reduce((sum, { pid }) => sum + cpuSeconds(pid as number), 0);
    marks.set(event.step, { wall: performance.now() / 1000, cpu });
  }
  const [first, last, count] = [[...marks.values()][0], [...marks.values()].at(-1), marks.size - 1];
  if (!first || !last || count < 1) throw new Error(`A training told of ${marks.size} steps.`);
  return { wall: (last.wall - first.wall) / count, cpu: (last.cpu - first.cpu) / count };
}

function endOf(rank: ChildProcess): Promise<void> {
  let said = "";
  rank.stderr?.on("data", (text: Buffer) => {
    said += text;
  });
  return new Promise((resolve, reject) => {
    rank.on("error", reject);
    rank.on("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`A process ended with ${code}: ${said}`)),
    );
  });
}

/** Of a process so far. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const [user, system] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13);
  return (Number(user) + Number(system)) / TICKS;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
