// @ts-check
// Measures ours against Python's torch and diffusers, by turns in one run, and writes bench/results/NAME.json.
//
//   npm run bench [-- NAME… --case TEXT --threads 2 --device cuda --rounds 9 --seconds 0.5 --out FOLDER --ours]
//     NAME       of bench/NAME.bench.ts; none: all but those of full-size models
//     --case     only cases whose name holds TEXT; the other cases of an earlier result stay in its file
//     --threads  within one operator, the same on both sides (1)
//     --device   where the models compute, of those that can be asked of a GPU (cpu); there the seconds on the clock are aimed at
//     --rounds   turns of each side (9)
//     --seconds  about how long one turn lasts (0.5)
//     --out      where the results go (bench/results)
//     --ours     without Python
//
// Python is SPO_PYTHON, else the python3 or python on the PATH that has torch and diffusers.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "../native/lib/run.js";
import { say } from "../native/lib/say.js";
import { describe, summarise } from "./bench/figures.mjs";
import { machine } from "./bench/machine.mjs";
import { findPython } from "./bench/python.mjs";
import { Side } from "./bench/side.mjs";
import { root } from "./setup/root.mjs";

/** @typedef {import("../bench/question.js").Case} Case */
/** @typedef {import("../bench/question.js").Question} Question */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    case: { type: "string", default: "" },
    threads: { type: "string", default: "1" },
    device: { type: "string", default: "cpu" },
    rounds: { type: "string", default: "9" },
    seconds: { type: "string", default: "0.5" },
    out: { type: "string", default: join(root, "bench/results") },
    ours: { type: "boolean", default: false },
  },
});
const threads = Number(values.threads);
const { device } = values;
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);

const known = readdirSync(join(root, "bench"))
  .flatMap((file) => /^(.+)\.bench\.ts$/.exec(file)?.[1] ?? [])
  .sort();
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  say(`There is no benchmark ${unknown.join(", ")}. There are: ${known.join(", ")}.`);
  process.exit(2);
}
const tsc = join(root, "node_modules/typescript/bin/tsc");
// Without the compiler, what was built goes along: in the archive of gpu-check.
if (existsSync(tsc)) {
  const { code, stdout, stderr } = await run(process.execPath, [tsc, "-b", join(root, "bench")], {
    cwd: root,
  });
  if (code !== 0) {
    say(`bench does not build.\n${stdout}${stderr}`);
    process.exit(1);
  }
}
const python = values.ours ? undefined : await findPython();
if (!python && !values.ours)
  say("No Python with torch and diffusers (set SPO_PYTHON): only ours is measured, nothing is compared.");

let missed = 0;
for (const name of positionals.length > 0 ? positionals : known)
  missed += await measure(name, positionals.length > 0);
if (missed > 0) say(`${missed} figure${missed === 1 ? "" : "s"} missed or results that disagree.`);
process.exitCode = missed > 0 ? 1 : 0;

/**
 * @param {string} name @param {boolean} named asked for by its name
 * @returns {Promise<number>} how many targets were missed
 */
async function measure(name, named) {
  const { default: question } = /** @type {{ default: Question }} */ (
    await import(join(root, `bench/dist/${name}.bench.js`))
  );
  if (question.large && !named) {
    say(`\n${name} is left out: its models are of full size. It runs when it is named.`);
    return 0;
  }
  if (device !== "cpu" && !question.anyDevice) {
    say(`\n${name} is left out: it is of the CPU alone.`);
    return 0;
  }
  const folder = mkdtempSync(join(tmpdir(), `spo-bench-${name}-`));
  const server = join(root, "bench/dist/serve.js");
  const script = join(root, "bench/peers", `${name}.py`);
  const start = async () => {
    const ours = await Side.start(
      "ours",
      process.execPath,
      [server, "serve", name, folder, `${threads}`, device],
      threads,
    );
    const compares = python !== undefined && question.peer !== undefined;
    const peer = compares
      ? await Side.start("python", python, [script, folder, `${threads}`, device], threads)
      : undefined;
    return { ours, peer, all: peer ? [ours, peer] : [ours] };
  };
  let sides;
  try {
    const prepared = await run(process.execPath, [server, "prepare", name, folder, values.case], {
      cwd: root,
    });
    if (prepared.code !== 0) throw new Error(`${name} could not be prepared.\n${prepared.stderr}`);
    sides = await start();
    const { ours, peer } = sides;
    say(`\n${name}: ${question.question}`);
    const record = {
      question: question.question,
      peer: peer ? question.peer : "not measured",
      command: `npm run bench -- ${name}${threads === 1 ? "" : ` --threads ${threads}`}${device === "cpu" ? "" : ` --device ${device}`}`,
      date: new Date().toISOString().slice(0, 10),
      machine: machine(ours.ready.vectors),
      versions: { ...ours.ready.versions, ...peer?.ready.versions },
      device,
      dtype: "float32",
      threads,
    };
    const file = join(values.out, `${fileNameOf(name)}.json`);
    /** @type {Case[]} */
    const cases = ours.ready.cases.map(device === "cpu" ? (/** @type {Case} */ one) => one : onClock);
    /** @type {Map<string, import("./bench/figures.mjs").Figures>} */
    const figures = new Map(values.case ? earlier(file, record).map((each) => [each.name, each]) : []);
    const wanted = cases.filter((each) => each.name.includes(values.case));
    for (const [i, one] of wanted.entries()) {
      if (question.large && i > 0) {
        for (const side of sides.all) await side.stop();
        sides = await start();
      }
      const measured = await alternate(one, sides.ours, sides.peer, question.large);
      say(describe(measured));
      figures.set(one.name, measured);
    }
    mkdirSync(values.out, { recursive: true });
    const inOrder = cases.flatMap((each) => figures.get(each.name) ?? []);
    writeFileSync(file, `${JSON.stringify({ ...record, cases: inOrder }, null, 2)}\n`);
    return wanted.filter(({ name: one }) => {
      const { met, agrees } = figures.get(one) ?? {};
      return met === false || agrees === false;
    }).length;
  } finally {
    for (const side of sides?.all ?? []) await side.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The name of its result. @param {string} name of the benchmark */
function fileNameOf(name) {
  const on = device === "cpu" ? "" : `-${device.replace(":", "")}`;
  return threads === 1 ? `${name}${on}` : `${name}${on}-${threads}-threads`;
}

/** A GPU's work is not seen in a process's CPU seconds, nor its memory in the process's. @param {Case} one @returns {Case} */
function onClock({ peak: _, target, ...one }) {
  return target ? { ...one, target: { ...target, of: "wall" } } : one;
}

/**
 * Cases of an earlier result, where it is of the same versions and threads.
 *
 * @param {string} file @param {{ versions: object, threads: number }} record
 * @returns {import("./bench/figures.mjs").Figures[]}
 */
function earlier(file, { versions, threads }) {
  if (!existsSync(file)) return [];
  const found = JSON.parse(readFileSync(file, "utf8"));
  const same = JSON.stringify([found.versions, found.threads]) === JSON.stringify([versions, threads]);
  return same ? found.cases : [];
}

/**
 * Both sides by turns; each is idle while the other works. The first of a round is the second of the next.
 *
 * @param {Case} one @param {Side} ours @param {Side | undefined} peer @param {boolean} [large] warm after its result; one run a turn
 */
async function alternate(one, ours, peer, large = false) {
  const sides = peer ? [ours, peer] : [ours];
  /** @type {Map<Side, number[]>} */
  const results = new Map();
  let longest = 0;
  for (const side of sides) {
    await side.ask({ do: "begin", case: one.name });
    results.set(side, (await side.ask({ do: "result", case: one.name })).result);
    if (large) continue;
    // Warm-up, and how long one takes.
    let { wall } = await side.ask({ do: "run", case: one.name, times: 1 });
    if (wall < seconds) ({ wall } = await side.ask({ do: "run", case: one.name, times: 2 }));
    longest = Math.max(longest, wall / 2);
  }
  const times = large ? 1 : Math.max(1, Math.round(seconds / longest));
  const units = times * (one.units ?? 1);
  /** @type {Map<Side, { wall: number, cpu: number }[]>} */
  const turns = new Map(sides.map((side) => [side, []]));
  for (let round = 0; round < (one.rounds ?? rounds); round++) {
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
      const { wall, cpu } = await side.ask({ do: "run", case: one.name, times });
      turns.get(side)?.push({ wall: wall / units, cpu: cpu / units });
    }
  }
  /** @type {Map<Side, { facts: Record<string, number>, peak: number }>} */
  const ends = new Map();
  for (const side of sides) ends.set(side, await side.ask({ do: "facts", case: one.name }));
  const of = (/** @type {Side} */ side) => ({
    turns: turns.get(side) ?? [],
    result: results.get(side) ?? [],
    facts: ends.get(side)?.facts ?? {},
    peak: ends.get(side)?.peak ?? 0,
  });
  return summarise(one, { times, units: one.units ?? 1 }, of(ours), peer && of(peer));
}
