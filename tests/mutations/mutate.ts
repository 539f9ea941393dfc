// `npm run mutate`: damaged and hostile files of every kind, read in a loop. Ends with 1 when any reader fails.
//
//   npm run mutate -- [--kind NAME… --group NAME… --count N --release --case N --jobs N --out FOLDER --list]
//     --kind     of these kinds only; --list names them
//     --group    of these groups only
//     --count    cases of each group, or of each kind that is named (2000)
//     --release  as --count 100000
//     --case     of one kind: this case alone; its files are left in the folder of --out
//     --jobs     processes (1)
//     --out      where the files of cases that fail are left (a new folder of the system's temporary one)
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { GROUPS, type Kind } from "./kind.js";
import { KINDS } from "./kinds.js";
import { keepCases, makeSources, runCases, type Tally } from "./run-cases.js";
import { tasksOf } from "./tasks.js";

/** Cases of a kind whose files are kept. */
const KEPT = 50;

const { values } = parseArgs({
  options: {
    kind: { type: "string", multiple: true, default: [] },
    group: { type: "string", multiple: true, default: [] },
    count: { type: "string" },
    release: { type: "boolean", default: false },
    case: { type: "string" },
    from: { type: "string", default: "0" },
    jobs: { type: "string", default: "1" },
    out: { type: "string" },
    list: { type: "boolean", default: false },
  },
});

if (values.list) for (const { group, name } of KINDS) console.log(`${group.padEnd(12)} ${name}`);
else process.exitCode = await main();

async function main(): Promise<number> {
  const unknown = values.kind.filter((name) => !KINDS.some((kind) => kind.name === name));
  if (unknown.length > 0) {
    console.error(
      `There is no kind ${unknown.join(", ")}. There are: ${KINDS.map(({ name }) => name).join(", ")}.`,
    );
    return 2;
  }
  const out = values.out ?? mkdtempSync(join(tmpdir(), "spo-mutations-found-"));
  const sources = mkdtempSync(join(tmpdir(), "spo-mutations-sources-"));
  try {
    await makeSources(sources);
    const began = performance.now();
    const tallies = await runCases(tasks(), {
      sources,
      jobs: Number(values.jobs),
      onFault: (kind, index, fault) =>
        console.error(`${kind} ${index}: ${fault.split("\n").slice(0, 4).join("\n    ")}`),
    });
    const asked = values.kind.flatMap((kind) =>
      values.case === undefined ? [] : [{ kind, index: Number(values.case), fault: "" }],
    );
    const kept = [
      ...asked,
      ...[...tallies].flatMap(([kind, { faults }]) =>
        faults.slice(0, KEPT).map((each) => ({ kind, ...each })),
      ),
    ];
    const shown = kept.filter(({ index }) => index >= 0);
    if (shown.length > 0) await keepCases(sources, out, shown);
    for (const { kind, index, fault } of shown)
      writeFileSync(
        join(out, `${kind}-${index}`, "fault.txt"),
        `npm run mutate -- --kind ${kind} --case ${index}\n\n${fault}\n`,
      );
    show(tallies);
    const faults = [...tallies.values()].reduce((sum, tally) => sum + tally.faults.length, 0);
    console.log(
      `${((performance.now() - began) / 1000).toFixed(0)} s${shown.length > 0 ? `; the files are in ${out}` : ""}`,
    );
    return faults > 0 ? 1 : 0;
  } finally {
    rmSync(sources, { recursive: true, force: true });
  }
}

function tasks(): ReturnType<typeof tasksOf> {
  if (values.case !== undefined)
    return values.kind.map((kind) => ({ kind, from: Number(values.case), to: Number(values.case) + 1 }));
  const count = values.release ? 100_000 : Number(values.count ?? 2000);
  const from = Number(values.from);
  if (values.kind.length > 0)
    return KINDS.filter(({ name }) => values.kind.includes(name)).map(
      ({ name, count: all = Number.POSITIVE_INFINITY }) => ({
        kind: name,
        from,
        to: Math.min(all, from + count),
      }),
    );
  const wanted = KINDS.filter(({ group }: Kind) => values.group.length === 0 || values.group.includes(group));
  return tasksOf(wanted, count);
}

function show(tallies: ReadonlyMap<string, Tally>): void {
  for (const group of GROUPS) {
    for (const { name } of KINDS.filter((kind) => kind.group === group)) {
      const tally = tallies.get(name);
      if (!tally) continue;
      const { cases, read, refused, seconds, faults } = tally;
      console.log(
        `${group.padEnd(12)} ${name.padEnd(22)} ${String(cases).padStart(7)} cases: ${read} read, ${refused} refused, ${faults.length} failed; ${seconds.toFixed(1)} s CPU`,
      );
    }
  }
}
