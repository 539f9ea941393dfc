// @ts-check
// Measures ours against Python's torch and diffusers, by turns in one run, and writes bench/results/NAME.json.
//
//   npm run bench [-- NAME… --threads 2 --rounds 9 --seconds 0.5 --out FOLDER --ours]
//     NAME       of bench/NAME.bench.ts; none: all of them
//     --threads  within one operator, the same on both sides (1)
//     --rounds   turns of each side (9)
//     --seconds  about how long one turn lasts (0.5)
//     --out      where the results go (bench/results)
//     --ours     without Python
//
// Python is SPO_PYTHON, else the python3 or python on the PATH that has torch and diffusers.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "1" },
    rounds: { type: "string", default: "9" },
    seconds: { type: "string", default: "0.5" },
    out: { type: "string", default: join(root, "bench/results") },
    ours: { type: "boolean", default: false },
  },
});
const threads = Number(values.threads);
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
const { code, stdout, stderr } = await run(
  process.execPath,
  [join(root, "node_modules/typescript/bin/tsc"), "-b", join(root, "bench")],
  { cwd: root },
);
if (code !== 0) {
  say(`bench does not build.\n${stdout}${stderr}`);
  process.exit(1);
}
const python = values.ours ? undefined : await findPython();
if (!python && !values.ours)
  say("No Python with torch and diffusers (set SPO_PYTHON): only ours is measured, nothing is compared.");

let missed = 0;
for (const name of positionals.length > 0 ? positionals : known) missed += await measure(name);
if (missed > 0) say(`${missed} figure${missed === 1 ? "" : "s"} missed or results that disagree.`);
process.exitCode = missed > 0 ? 1 : 0;

/** @param {string} name @returns {Promise<number>} how many targets were missed */
async function measure(name) {
  const folder = mkdtempSync(join(tmpdir(), `spo-bench-${name}-`));
  /** @type {Side[]} */
  const sides = [];
  try {
    const server = join(root, "bench/dist/serve.js");
    const prepared = await run(process.execPath, [server, "prepare", name, folder], { cwd: root });
    if (prepared.code !== 0) throw new Error(`${name} could not be prepared.\n${prepared.stderr}`);
    const ours = await Side.start(
      "ours",
      process.execPath,
      [server, "serve", name, folder, `${threads}`],
      threads,
    );
    sides.push(ours);
    let peer;
    if (python && ours.ready.peer) {
      const script = join(root, "bench/peers", `${name}.py`);
      peer = await Side.start("python", python, [script, folder, `${threads}`], threads);
      sides.push(peer);
    }
    say(`\n${name}: ${ours.ready.question}`);
    const cases = [];
    for (const one of ours.ready.cases) {
      const measured = await alternate(one, ours, peer);
      say(describe(measured));
      cases.push(measured);
    }
    const versions = { ...ours.ready.versions, ...peer?.ready.versions };
    const record = {
      question: ours.ready.question,
      peer: peer ? ours.ready.peer : "not measured",
      command: `npm run bench -- ${name}${threads === 1 ? "" : ` --threads ${threads}`}`,
      date: new Date().toISOString().slice(0, 10),
      machine: machine(ours.ready.vectors),
      versions,
      device: "cpu",
      dtype: "float32",
      threads,
      cases,
    };
    mkdirSync(values.out, { recursive: true });
    const file = threads === 1 ? `${name}.json` : `${name}-${threads}-threads.json`;
    writeFileSync(join(values.out, file), `${JSON.stringify(record, null, 2)}\n`);
    return cases.filter(({ met, agrees }) => met === false || agrees === false).length;
  } finally {
    for (const side of sides) await side.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Both sides by turns; each is idle while the other works. The first of a round is the second of the next.
 *
 * @param {Case} one @param {Side} ours @param {Side | undefined} peer
 */
async function alternate(one, ours, peer) {
  const sides = peer ? [ours, peer] : [ours];
  /** @type {Map<Side, number[]>} */
  const results = new Map();
  let longest = 0;
  for (const side of sides) {
    await side.ask({ do: "begin", case: one.name });
    results.set(side, (await side.ask({ do: "result", case: one.name })).result);
    // Warm-up, and how long one takes.
    let { wall } = await side.ask({ do: "run", case: one.name, times: 1 });
    if (wall < seconds) ({ wall } = await side.ask({ do: "run", case: one.name, times: 2 }));
    longest = Math.max(longest, wall / 2);
  }
  const times = Math.max(1, Math.round(seconds / longest));
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
