// `npm run kills`: each command is killed at random calls of the file system, run again, and compared with one that was left alone.
//
//   npm run kills -- [--command NAME… --count N --release --seed N]
//     --command  train-spo, train-dpo, train-spm, sample, eval, convert-file, convert-folder, export-jsonl, export-parquet (all)
//     --count    kills of each command (3)
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
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const PROGRAM = fileURLToPath(new URL("../packages/cli/bin/spo.js", import.meta.url));

/**
 * Runs before everything else: counts the calls that change the disk, ends the process at one of them, and tells their number at the end.
 */
const HOOK = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const [at, told] = [Number(process.env.KILL_AT), process.env.KILL_TOLD];
  const write = fs.writeFileSync;
  let calls = 0;
  for (const name of ["openSync", "writeSync", "fsyncSync", "renameSync", "mkdirSync", "linkSync", "rmSync", "closeSync", "truncateSync"]) {
    const original = fs[name];
    fs[name] = (...args) => {
      if (++calls === at) {
        if (name === "writeSync" && args[1]?.length > 1) original(args[0], args[1], 0, args[1].length >> 1); // in its middle
        process.kill(process.pid, "SIGKILL");
      }
      return original(...args);
    };
  }
  syncBuiltinESMExports();
  process.on("exit", () => write(told, String(calls)));
`;

interface Command {
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
    release: { type: "boolean", default: false },
    seed: { type: "string", default: "1" },
  },
});

const folder = mkdtempSync(join(tmpdir(), "spo-kills-"));
try {
  const world = await makeTinyWorld(join(folder, "world"));
  let faults = 0;
  for (const name of values.command) faults += test(name, world, values.release ? 40 : Number(values.count));
  process.exitCode = faults > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function test(name: string, world: TinyWorld, count: number): number {
  const command = COMMANDS[name];
  if (!command)
    throw new Error(`There is no command ${name}. There are: ${Object.keys(COMMANDS).join(", ")}.`);
  const call = (out: string, at: number) => {
    const told = join(folder, "calls");
    rmSync(told, { force: true });
    const { status, signal, stderr } = spawnSync(
      process.execPath,
      ["--import", `data:text/javascript,${encodeURIComponent(HOOK)}`, PROGRAM, ...command.args(world, out)],
      {
        env: { ...process.env, OMP_NUM_THREADS: "1", KILL_AT: String(at), KILL_TOLD: told },
        encoding: "utf8",
      },
    );
    return { status, signal, stderr, calls: existsSync(told) ? Number(readFileSync(told, "utf8")) : 0 };
  };
  const unbroken = join(folder, name);
  const { status, calls, stderr } = call(unbroken, 0);
  if (status !== 0) throw new Error(`${name} fails by itself: ${stderr}`);
  const expected = command.result(unbroken);
  let faults = 0;
  let killed = 0;
  for (let i = 0; i < count; i++) {
    const at = placeOf(`${values.seed} ${name} ${i}`, calls);
    const out = join(folder, `${name}-${i}`);
    if (call(out, at).signal === "SIGKILL") killed++;
    const again = call(out, 0);
    const problems: string[] = [];
    if (again.status !== 0 && !command.codes?.includes(again.status ?? -1))
      problems.push(`ended with ${again.status}: ${again.stderr.slice(-500)}`);
    const found = command.result(out);
    const [was, is] = [JSON.stringify(expected), JSON.stringify(found)];
    if (command.adds) {
      const known = Object.values(expected);
      if (Object.values(found).some((hash) => !known.includes(hash)))
        problems.push("a file is none of the unbroken call's");
    } else if (was !== is) problems.push("the result differs");
    const left = leftovers(out);
    if (left.length > 0) problems.push(`left over: ${left.join(", ")}`);
    for (const problem of problems) console.log(`${name}, killed at call ${at} of ${calls}: ${problem}`);
    faults += problems.length;
    rmSync(out, { recursive: true, force: true });
  }
  console.log(`${name}: ${killed} kills at random of ${calls} calls, ${faults} faults`);
  return faults;
}

/** A number from 1 to `most`, a function of the words. */
function placeOf(words: string, most: number): number {
  return 1 + (createHash("sha256").update(words).digest().readUInt32LE() % most);
}
