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
    "How many times as fast do two processes with a core each train as one with one core? Efficiency is half of that; Linux's taskset pins them.",
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
    return Object.entries(models).flatMap(([name, model]) =>
      Object.entries(TRAININGS).map(([kind, words]) => {
        const judge = kind === "dpo" ? [] : [kind === "spm" ? "--init" : "--spm", join(folder, "spm")];
        return scaling(`train ${kind}, ${name}`, kind, [...words, ...judge, "--model", model]);
      }),
    );
  },
};
export default question;

/** A turn is a training by one process and the same one by two. */
function scaling(name: string, kind: string, words: readonly string[]): Case {
  const found: { one: Cost; two: Cost }[] = [];
  return {
    name,
    shapes: words.filter((word) => !word.includes("/")).join(" "),
    rounds: 2,
    run: async () => {
      const isOdd = found.length % 2 === 1;
      const first = await costOf(isOdd ? 2 : 1, kind, words);
      const second = await costOf(isOdd ? 1 : 2, kind, words);
      found.push(isOdd ? { one: second, two: first } : { one: first, two: second });
    },
    facts: () => {
      const least = (which: "one" | "two", of: keyof Cost): number =>
        Math.min(...found.map((turn) => turn[which][of]));
      return {
        "wall of one": least("one", "wall"),
        "wall of two": least("two", "wall"),
        "cpu of one": least("one", "cpu"),
        "cpu of two": least("two", "cpu"),
        efficiency: least("one", "wall") / (2 * least("two", "wall")),
        lost: 1 - least("one", "wall") / (2 * least("two", "wall")),
        "work added": least("two", "cpu") / least("one", "cpu") - 1,
      };
    },
    limits: { lost: 0.1 },
  };
}

/** Of a step, the mean of all but the first. Throws where a process fails. */
async function costOf(size: number, kind: string, words: readonly string[]): Promise<Cost> {
  const run = mkdtempSync(join(process.env.TMPDIR ?? "/tmp", "spo-scaling-"));
  const port = await freePort();
  const ranks = Array.from({ length: size }, (_, rank) =>
    spawn(
      "taskset",
      [
        "-c",
        `${rank}`,
        process.execPath,
        PROGRAM,
        "train",
        kind,
        ...words,
        "--run",
        run,
        "--json",
        "--quiet",
      ],
      {
        stdio: ["ignore", rank === 0 ? "pipe" : "ignore", "pipe"],
        env: {
          ...process.env,
          OMP_NUM_THREADS: "1",
          ...{ RANK: `${rank}`, WORLD_SIZE: `${size}`, MASTER_ADDR: "127.0.0.1", MASTER_PORT: `${port}` },
        },
      },
    ),
  );
  try {
    const ended = ranks.map(endOf);
    const marks = new Map<number, Cost>();
    for await (const line of createInterface({ input: ranks[0]?.stdout as NodeJS.ReadableStream })) {
      const event = JSON.parse(line) as Event;
      if (event.type !== "step" || marks.has(event.step)) continue;
      const cpu = ranks.reduce((sum, { pid }) => sum + cpuSeconds(pid as number), 0);
      marks.set(event.step, { wall: performance.now() / 1000, cpu });
    }
    await Promise.all(ended);
    const [first, last, count] = [[...marks.values()][0], [...marks.values()].at(-1), marks.size - 1];
    if (!first || !last || count < 1) throw new Error(`train ${kind} told of ${marks.size} steps.`);
    return { wall: (last.wall - first.wall) / count, cpu: (last.cpu - first.cpu) / count };
  } finally {
    for (const each of ranks) each.kill("SIGKILL");
    rmSync(run, { recursive: true, force: true });
  }
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
