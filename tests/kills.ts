// `npm run kills`: each command is killed at random calls of the file system, run again, and compared with one that was left alone.
//
//   npm run kills -- [--command NAME… --count N --ranks N --release --seed N]
//     --command  train-spo, train-dpo, train-spm, train-latent, train-spo-flow, train-dpo-flow, sample, eval, convert-file, convert-folder,
//                export-jsonl, export-parquet, or all
//     --count    kills of each command (3)
//     --ranks    so many processes do a training together, and one of them is killed: any at a random moment, or rank 0, which writes, at
//                a random call (1)
//     --release  as --count 40
// Ends with 1 when a result differs, a half file has its final name, or something is left over.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { computedPart, readRun } from "@spo/records";
import { freePort, type RankEnd, startRank } from "./ranks.fixture.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const PROGRAM = fileURLToPath(new URL("../packages/cli/bin/spo.js", import.meta.url));

/**
 * Runs before everything else: counts the calls that change the disk, ends the process at one of them, and tells their number at the end.
 */
const HOOK = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  import { isMainThread } from "node:worker_threads";
  // A checkpoint is written by a thread of its own, which loads this too and counts for itself.
  const isMine = isMainThread === (process.env.KILL_THREAD !== "1");
  const [at, told] = [isMine ? Number(process.env.KILL_AT) : 0, process.env.KILL_TOLD + (isMainThread ? "" : "-thread")];
  const write = fs.writeFileSync;
  let calls = 0;
  for (const name of ["openSync", "writeSync", "fsyncSync", "renameSync", "mkdirSync", "linkSync", "rmSync", "closeSync", "truncateSync"]) {
    const original = fs[name];
    fs[name] = (...args) => {
      if (++calls === at) {
        if (name === "writeSync" && args[1]?.length > 1) original(args[0], args[1], 0, args[1].length >> 1); // in its middle
        process.kill(process.pid, "SIGKILL");
      }
      const result = original(...args);
      if (!isMainThread && process.env.KILL_AT === "0") write(told, String(calls));
      return result;
    };
  }
  syncBuiltinESMExports();
  if (isMainThread) process.on("exit", () => write(told, String(calls)));
`;
const HOOKED = ["--import", `data:text/javascript,${encodeURIComponent(HOOK)}`, PROGRAM] as const;

/** A call of the file system at which a process is killed. */
interface Place {
  /** 0: at none. */
  at: number;
  /** Of the thread that saves. */
  isOfThread: boolean;
}

/** How many calls of the file system a process has made, and its thread that saves. */
interface Calls {
  calls: number;
  ofThread: number;
}

const NOWHERE: Place = { at: 0, isOfThread: false };

/** For HOOK. */
function envOf({ at, isOfThread }: Place): NodeJS.ProcessEnv {
  const told = join(folder, "calls");
  for (const path of [told, `${told}-thread`]) rmSync(path, { force: true });
  return { OMP_NUM_THREADS: "1", KILL_AT: String(at), KILL_TOLD: told, KILL_THREAD: isOfThread ? "1" : "0" };
}

/** What HOOK has told last. */
function toldCalls(): Calls {
  const told = join(folder, "calls");
  const [calls = 0, ofThread = 0] = [told, `${told}-thread`].map((path) =>
    existsSync(path) ? Number(readFileSync(path, "utf8")) : 0,
  );
  return { calls, ofThread };
}

/** One of the calls, a function of the words. */
function callOf(words: string, { calls, ofThread }: Calls): Place {
  const at = placeOf(words, calls + ofThread);
  return at > calls ? { at: at - calls, isOfThread: true } : { at, isOfThread: false };
}

const shown = ({ at, isOfThread }: Place, { calls, ofThread }: Calls): string =>
  `at call ${at} of ${isOfThread ? `the thread's ${ofThread}` : calls}`;

interface Command {
  /** Of the model. Default: sd15. */
  family?: "sd3";
  args: (world: TinyWorld, out: string) => string[];
  /** What must be equal, by name. */
  result: (out: string) => Record<string, unknown>;
  /** A result of a call that was killed after its end is told of: with these exit codes too it is whole. */
  codes?: number[];
  /** Called again it adds to what is there: each file must be one of the unbroken call's. */
  adds?: boolean;
}

const training = (kind: string, settings: string, rest: (world: TinyWorld) => string[]): Command => ({
  args: (world, out) => [
    ...`train ${kind} ${settings} --model ${world.model} --run ${out}`.split(" "),
    ...rest(world),
  ],
  result: (out) => ({
    ...filesOf(join(out, "model")),
    events: computedPart(readRun(out).events).map((event) =>
      event.type === "done" ? { type: "done" } : event,
    ),
  }),
});

const COMMANDS: Record<string, Command> = {
  "train-spo": training(
    "spo",
    "--rounds 3 --prompts-per-round 2 --steps 3 --first-branch 1 --threshold 0.01 --save-every 1 --samples 1",
    ({ spm, prompts }) => ["--spm", spm, "--prompts", prompts],
  ),
  "train-dpo": training(
    "dpo",
    "--steps 4 --batch 2 --warmup 1 --adapter lora --save-every 1 --eval-pairs 2 --eval-every 2",
    ({ pairs }) => ["--pairs", pairs],
  ),
  "train-spm": training(
    "spm",
    "--steps 4 --batch 2 --eval-every 2 --eval-pairs 2 --save-every 1",
    ({ spm, pairs }) => ["--init", spm, "--pairs", pairs],
  ),
  "train-latent": training(
    "spm",
    "--kind latent --steps 4 --batch 2 --eval-every 2 --eval-pairs 2 --save-every 1",
    ({ pairs }) => ["--pairs", pairs],
  ),
  "train-spo-flow": {
    ...training(
      "spo",
      "--rounds 3 --prompts-per-round 2 --steps 4 --first-branch 1 --last-branch 2 --eta 0.7 --eta-before 0 --ratio normalised --threshold 0 --save-every 1 --samples 1",
      ({ spm, prompts }) => ["--spm", spm, "--prompts", prompts],
    ),
    family: "sd3",
  },
  "train-dpo-flow": {
    ...training(
      "dpo",
      "--steps 4 --batch 2 --warmup 1 --adapter lora --save-every 1 --eval-pairs 2 --eval-every 2",
      ({ pairs }) => ["--pairs", pairs],
    ),
    family: "sd3",
  },
  sample: {
    args: ({ model, prompts }, out) => [
      "sample",
      ...`--model ${model} --prompts ${prompts} --steps 2 --seed 1 --output ${out}`.split(" "),
    ],
    result: filesOf,
    adds: true,
  },
  eval: {
    args: ({ model, spm, prompts }, out) => [
      "eval",
      model,
      ...`--metrics spm:${spm} --prompts ${prompts} --steps 2 --output ${out}`.split(" "),
    ],
    result: (out) => filesOf(join(out, "images")),
  },
  "convert-file": {
    args: ({ model }, out) => ["convert", model, "--output", `${out}/m.safetensors`],
    result: filesOf,
    codes: [2],
  },
  "convert-folder": {
    args: ({ model, lora }, out) => ["convert", model, "--lora", lora, "--output", `${out}/m`],
    result: filesOf,
    codes: [2],
  },
  "export-jsonl": {
    args: ({ pairs }, out) => ["data", "export", pairs, "--to", "jsonl", "--output", `${out}/set`],
    result: filesOf,
  },
  "export-parquet": {
    args: ({ pairs }, out) => ["data", "export", pairs, "--to", "parquet", "--output", `${out}/set.parquet`],
    result: filesOf,
  },
};

/** Files below a folder, by name, as digests. */
function filesOf(folder: string): Record<string, string> {
  if (!existsSync(folder)) return {};
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    files
      .map(({ parentPath, name }) => join(parentPath, name))
      .sort()
      .map((path) => [path.slice(folder.length + 1), digest(path)]),
  );
}

/** A LoRA and a model in one file say when they were written; that may differ. */
function digest(path: string): string {
  const bytes = readFileSync(path);
  const start = path.endsWith(".safetensors") ? 8 + Number(bytes.readBigUInt64LE()) : 0;
  return createHash("sha256").update(bytes.subarray(start)).digest("hex");
}

/** Names that no ended command leaves. */
const leftovers = (folder: string): string[] =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .filter((path) => /\.(tmp|next)$|(^|\/)(writer\.json|\.step-)/.test(path));

const { values } = parseArgs({
  options: {
    command: { type: "string", multiple: true, default: Object.keys(COMMANDS) },
    count: { type: "string", default: "3" },
    ranks: { type: "string", default: "1" },
    release: { type: "boolean", default: false },
    seed: { type: "string", default: "1" },
  },
});

const folder = mkdtempSync(join(tmpdir(), "spo-kills-"));
try {
  const worlds = new Map<"sd15" | "sd3", TinyWorld>();
  let faults = 0;
  const [count, ranks] = [values.release ? 40 : Number(values.count), Number(values.ranks)];
  for (const name of values.command) {
    const { family = "sd15" } = commandNamed(name);
    const world = worlds.get(family) ?? (await makeTinyWorld(join(folder, `world-${family}`), family));
    worlds.set(family, world);
    faults += ranks > 1 ? await testRanks(name, world, count, ranks) : test(name, world, count);
  }
  process.exitCode = faults > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function commandNamed(name: string): Command {
  const command = COMMANDS[name];
  if (!command)
    throw new Error(`There is no command ${name}. There are: ${Object.keys(COMMANDS).join(", ")}.`);
  return command;
}

function test(name: string, world: TinyWorld, count: number): number {
  const command = commandNamed(name);
  const call = (out: string, place: Place = NOWHERE) => {
    const env = { ...process.env, ...envOf(place) };
    return spawnSync(process.execPath, [...HOOKED, ...command.args(world, out)], { env, encoding: "utf8" });
  };
  const unbroken = join(folder, name);
  const { status, stderr } = call(unbroken);
  if (status !== 0) throw new Error(`${name} fails by itself: ${stderr}`);
  const counts = toldCalls();
  const expected = command.result(unbroken);
  let [faults, killed, inSaves] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const place = callOf(`${values.seed} ${name} ${i}`, counts);
    const out = join(folder, `${name}-${i}`);
    if (call(out, place).signal === "SIGKILL") {
      killed++;
      if (place.isOfThread) inSaves++;
    }
    const again = call(out);
    const problems: string[] = [];
    if (again.status !== 0 && !command.codes?.includes(again.status ?? -1))
      problems.push(`ended with ${again.status}: ${again.stderr.slice(-500)}`);
    problems.push(...problemsOf(command, expected, out));
    for (const problem of problems) console.log(`${name}, killed ${shown(place, counts)}: ${problem}`);
    faults += problems.length;
    rmSync(out, { recursive: true, force: true });
  }
  console.log(
    `${name}: ${killed} kills at random of ${counts.calls} calls and ${counts.ofThread} of the thread that saves (${inSaves} there), ${faults} faults`,
  );
  return faults;
}

/** What is wrong with a command that was killed and called again. */
function problemsOf(command: Command, expected: Record<string, unknown>, out: string): string[] {
  const found = command.result(out);
  const problems: string[] = [];
  if (command.adds) {
    const known = Object.values(expected);
    if (Object.values(found).some((hash) => !known.includes(hash)))
      problems.push("a file is none of the unbroken call's");
  } else if (JSON.stringify(expected) !== JSON.stringify(found)) problems.push("the result differs");
  const left = leftovers(out);
  return left.length > 0 ? [...problems, `left over: ${left.join(", ")}`] : problems;
}

/** A kill of one of several processes: at a moment, or at a call of the file system. */
type RankKill =
  | { rank: number; ms: number; place?: undefined }
  | { rank: number; ms?: undefined; place: Place };

/**
 * The same of a training by several processes. By turns one of them is killed at a moment of the unbroken call's time, which is seldom one
 * of a save, and rank 0 at one of its calls.
 */
async function testRanks(name: string, world: TinyWorld, count: number, ranks: number): Promise<number> {
  const command = commandNamed(name);
  const call = async (out: string, kill?: RankKill): Promise<RankEnd[]> => {
    const port = await freePort();
    const hooked = envOf(kill?.place ?? NOWHERE);
    const started = Array.from({ length: ranks }, (_, rank) => {
      const args = command.args(world, out);
      const [program, ...rest] = rank === 0 ? HOOKED : ([PROGRAM] as const);
      return startRank(program, [...rest, ...args], {
        ...{ RANK: String(rank), WORLD_SIZE: String(ranks) },
        ...{ MASTER_ADDR: "127.0.0.1", MASTER_PORT: String(port) },
        ...(rank === 0 && hooked),
        // One that is killed before it has come would be waited for ten minutes.
        ...(kill && { SPO_DISTRIBUTED_TIMEOUT: "10" }),
      });
    });
    const timer =
      kill?.ms === undefined
        ? undefined
        : setTimeout(() => started[kill.rank]?.child.kill("SIGKILL"), kill.ms);
    const ends = await Promise.all(started.map(({ ended }) => ended));
    clearTimeout(timer);
    return ends;
  };
  const unbroken = join(folder, `${name}-of-${ranks}`);
  const began = performance.now();
  const ends = await call(unbroken);
  const ms = performance.now() - began;
  if (ends.some(({ code }) => code !== 0)) throw new Error(`${name} fails by itself: ${ends[0]?.output}`);
  const counts = toldCalls();
  const expected = command.result(unbroken);
  let [faults, killed, inSaves] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const words = `${values.seed} ${name} of ${ranks} ${i}`;
    const kill: RankKill =
      i % 2 === 0
        ? { rank: placeOf(`${words} rank`, ranks) - 1, ms: placeOf(words, Math.ceil(ms)) }
        : { rank: 0, place: callOf(words, counts) };
    const out = join(folder, `${name}-of-${ranks}-${i}`);
    const broken = await call(out, kill);
    if (broken[kill.rank]?.code === null) {
      killed++;
      if (kill.place?.isOfThread) inSaves++;
    }
    const again = await call(out);
    const problems = again.flatMap(({ code, output }, rank) =>
      code === 0 ? [] : [`rank ${rank} ended with ${code}: ${output.slice(-500)}`],
    );
    problems.push(...problemsOf(command, expected, out));
    const when = kill.place ? shown(kill.place, counts) : `after ${kill.ms} ms`;
    for (const problem of problems)
      console.log(`${name}, rank ${kill.rank} of ${ranks} killed ${when}: ${problem}`);
    faults += problems.length;
    rmSync(out, { recursive: true, force: true });
  }
  console.log(
    `${name} by ${ranks} processes: ${killed} kills, by turns at random moments and of rank 0 at random of ${counts.calls} calls and ${counts.ofThread} of the thread that saves (${inSaves} there), ${faults} faults`,
  );
  return faults;
}

/** A number from 1 to `most`, a function of the words. */
function placeOf(words: string, most: number): number {
  return 1 + (createHash("sha256").update(words).digest().readUInt32LE() % most);
}
