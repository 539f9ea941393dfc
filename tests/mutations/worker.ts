// Reads cases in a process of its own, which may die of one, and tells of each on descriptor 3. See `run-cases.ts` for the other side.
import { mkdirSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { liveTensors, setThreads } from "@spo/torch";
import { Cases } from "./cases.js";
import { judgeCase, type Verdict } from "./judge-case.js";
import type { Kind } from "./kind.js";
import { KINDS } from "./kinds.js";
import { type Task, TOLD, type Told } from "./told.js";

/** Cases between two looks at what is left open. */
const BATCH = 250;

const [, , doing, sources, own, given = "[]"] = process.argv as (string | undefined)[];
let now: { kind: string; index: number } | undefined;
for (const event of ["uncaughtException", "unhandledRejection"]) {
  process.on(event, (error: unknown) => {
    if (now)
      tell({
        ends: now.index,
        kind: now.kind,
        fault: `thrown outside of the reader: ${error instanceof Error ? error.stack : String(error)}`,
      });
    else console.error(error);
    process.exit(TOLD);
  });
}
setThreads(1);
if (doing === "make") await make(sources as string);
else if (doing === "read") for (const task of JSON.parse(given) as Task[]) await readAll(task);
else if (doing === "keep")
  for (const { kind, from } of JSON.parse(given) as Task[])
    new Cases(kindOf(kind), join(sources as string, kind), join(own as string, `${kind}-${from}`)).set(from);
process.exit(0); // threads of image readers would hold it

function tell(told: Told): void {
  const line = Buffer.from(`${JSON.stringify(told)}\n`);
  for (let at = 0; at < line.length; ) {
    try {
      at += writeSync(3, line, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error; // the other side is slow
    }
  }
}

async function make(folder: string): Promise<void> {
  for (const kind of KINDS) {
    mkdirSync(join(folder, kind.name), { recursive: true });
    await kind.make(join(folder, kind.name));
  }
  tell({ made: true });
}

function kindOf(name: string): Kind {
  const kind = KINDS.find((each) => each.name === name);
  if (!kind) throw new Error(`there is no kind ${name}`);
  return kind;
}

async function readAll({ kind: name, from, to }: Task): Promise<void> {
  const kind = kindOf(name);
  const cases = new Cases(kind, join(sources as string, name), join(own as string, name));
  const read = async (index: number): Promise<Verdict> => {
    const size = cases.set(index);
    now = { kind: name, index };
    tell({ begins: index, kind: name });
    const verdict = await judgeCase(() => kind.read(cases.folder, index), size);
    now = undefined;
    return verdict;
  };
  for (let warm = 0; warm < 3; warm++) {
    const sound = await read(-1);
    if (!("outcome" in sound) || sound.outcome !== "read") {
      tell({ ends: -1, kind: name, fault: `the sound files are not read: ${JSON.stringify(sound)}` });
      return;
    }
  }
  let open = await openNow(cases.folder);
  for (let start = from; start < to; start += BATCH) {
    const end = Math.min(to, start + BATCH);
    const verdicts = new Map<number, Verdict>();
    for (let index = start; index < end; index++) {
      const verdict = await read(index);
      verdicts.set(index, verdict);
      tell({ ends: index, kind: name, ...verdict });
    }
    cases.set(-1);
    const after = await openNow(cases.folder);
    // A command ends with its process, and leaves to that what it holds.
    if (kind.count === undefined && leakBetween(open, after)) {
      // One by one, to name those that leave something.
      open = after;
      for (const [index, verdict] of verdicts) {
        if ("fault" in verdict) continue;
        await read(index);
        cases.set(-1);
        const then = await openNow(cases.folder);
        const leak = leakBetween(open, then);
        if (leak) tell({ ends: index, kind: name, again: true, fault: `left open: ${leak}` });
        open = then;
      }
    }
  }
}

interface Open {
  tensors: number;
  descriptors: number;
  mappings: number;
}

/** What is open once the garbage has been collected. Needs --expose-gc. */
async function openNow(folder: string): Promise<Open> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await setImmediate(); // finalizers
  }
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return {
    tensors: liveTensors(),
    descriptors: readdirSync("/proc/self/fd").length,
    mappings: maps.filter((line) => line.includes(folder)).length,
  };
}

function leakBetween(before: Open, after: Open): string | undefined {
  const grown = (Object.keys(before) as (keyof Open)[]).filter((what) => after[what] > before[what]);
  return grown.map((what) => `${after[what] - before[what]} ${what}`).join(", ") || undefined;
}
