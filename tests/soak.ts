// `npm run soak`: the amounts of a release, of what CI tries a little of. Each part prints a line; ends with 1 where anything is lost.
//
//   npm run soak -- [--kills N --rank-kills N --flips N --reductions N --seed N]
//     --kills       of train spm, latent, spo and dpo each, at random calls of the file system (125)
//     --rank-kills  of one of two processes of each, at random moments and, of rank 0, at random calls (50)
//     --flips       bits of the files of the newest checkpoint of a training, each of which must be found (5000)
//     --reductions  all-reduces by two processes, with the memory that they keep (10000)
//
// A kill takes about 7 CPU seconds, one of two processes about 10, and may wait as long; flips and all-reduces take milliseconds.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { checkCheckpoint, listCheckpoints, Run } from "@spo/records";
import { runSettings, trainDpo } from "spo/recipes";
import { TrainDpoConfig } from "spo/schemas";
import { freePort, startRank } from "./ranks.fixture.js";
import { makeTinyWorld } from "./tiny-models.js";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Bytes by which a process may grow with an all-reduce. A heap that grows once, by megabytes, is no leak: each fifth must have grown. */
const MOST_GROWN = 100;

/** What a process holds. */
interface Alive {
  live: number;
  files: number;
  bytes: number;
}

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "125" },
    "rank-kills": { type: "string", default: "50" },
    flips: { type: "string", default: "5000" },
    reductions: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
  },
});

const TRAININGS = ["train-spm", "train-latent", "train-spo", "train-dpo"];

const parts = [
  () => flips(Number(values.flips)),
  () => reductions(Number(values.reductions)),
  () => kills(TRAININGS, values.kills, 1),
  () => kills(TRAININGS, values["rank-kills"], 2),
];
for (const part of parts) if (!(await part())) process.exitCode = 1;

/** By tests/kills.ts. */
function kills(commands: readonly string[], count: string, ranks: number): boolean {
  if (count === "0") return true;
  const words = commands.flatMap((command) => ["--command", command]);
  const program = ["--import", here("./mutations/typescript.mjs"), here("./kills.ts")];
  const options = ["--count", count, "--ranks", String(ranks), "--seed", values.seed];
  const { status } = spawnSync(process.execPath, [...program, ...words, ...options], { stdio: "inherit" });
  return status === 0;
}

/** Every flipped bit is a fault of the newest checkpoint, and the training then goes on from the one before. */
async function flips(count: number): Promise<boolean> {
  if (count === 0) return true;
  const folder = mkdtempSync(join(tmpdir(), "spo-flips-"));
  try {
    const { model, pairs } = await makeTinyWorld(join(folder, "world"));
    const run = join(folder, "run");
    const training = { steps: 2, batch: 2, saveEvery: 1, evalPairs: 0, warmup: 0, adapter: "lora" };
    const config = TrainDpoConfig.parse({ model, pairs: [pairs], output: join(run, "model"), ...training });
    for await (const _ of trainDpo(config, { run }));
    const [before, newest] = listCheckpoints(join(run, "checkpoints")).slice(-2);
    if (!before || !newest) throw new Error("the training has left no two checkpoints");
    const paths = readdirSync(newest.folder).map((name) => join(newest.folder, name));
    let missed = 0;
    for (let i = 0; i < count; i++) {
      const path = paths[i % paths.length] as string;
      const whole = readFileSync(path);
      const damaged = Buffer.from(whole);
      const bit = drawn(`${values.seed} ${i}`, whole.length * 8);
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      writeFileSync(path, damaged);
      const isFound = checkCheckpoint(newest).fault !== undefined && resumesFrom(run, config) === before.step;
      if (!isFound) {
        missed++;
        console.log(`${path}: bit ${bit} is not found`);
      }
      writeFileSync(path, whole);
    }
    console.log(
      `bit flips in ${paths.length} files of a checkpoint: ${count}, of which ${missed} were not found`,
    );
    return missed === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The step that the training would go on from; its log stays as it is. */
function resumesFrom(folder: string, config: TrainDpoConfig): number {
  const log = join(folder, "events.jsonl");
  const kept = readFileSync(log);
  const run = Run.open(folder, runSettings("train dpo", TrainDpoConfig, config));
  try {
    return run.resume(() => {});
  } finally {
    run.close();
    writeFileSync(log, kept);
  }
}

/** Two processes; neither may keep tensors, descriptors or memory. */
async function reductions(count: number): Promise<boolean> {
  if (count === 0) return true;
  const port = await freePort();
  const ranks = [0, 1].map((rank) =>
    startRank(here("./rank.mjs"), ["soak", String(rank), "2", String(port), "60000"], {
      REDUCTIONS: String(count),
      NODE_OPTIONS: "--expose-gc",
    }),
  );
  let isFlat = true;
  for (const [rank, { ended }] of ranks.entries()) {
    const { code, output } = await ended;
    if (code !== 0) throw new Error(`rank ${rank} ended with ${code}: ${output}`);
    const { found } = JSON.parse(output.trim().split("\n").at(-1) as string) as { found: Alive[] };
    const [first, last] = [found[0] as Alive, found.at(-1) as Alive];
    const grown = found.slice(1).map(({ bytes }, i) => bytes - (found[i] as Alive).bytes);
    isFlat &&=
      last.live === first.live && last.files === first.files && Math.min(...grown) < (MOST_GROWN * count) / 5;
    const told = grown.map((bytes) => (bytes / 1e3).toFixed(0)).join(", ");
    console.log(
      `${count} all-reduces, rank ${rank}: ${last.live} tensors, ${last.files} files, ${told} kB more with each further fifth`,
    );
  }
  return isFlat;
}

/** A number from 0 to below `most`, a function of the words. */
function drawn(words: string, most: number): number {
  return createHash("sha256").update(words).digest().readUIntLE(0, 6) % most;
}
