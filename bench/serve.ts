// Our side of a benchmark: a process that does what it is told, a line of JSON at a time, and is idle in between.
//
//   node bench/dist/serve.js prepare NAME FOLDER CASE   of cases whose name holds CASE
//   node bench/dist/serve.js serve NAME FOLDER THREADS DEVICE
import { createInterface } from "node:readline";
import {
  type Device,
  engineFacts,
  forgetPeak,
  peakBytes,
  resolveDevice,
  scope,
  setThreads,
  zeros,
} from "@spo/torch";
import type { Question } from "./question.js";

type Command =
  | { do: "run"; case: string; times: number }
  | { do: "result" | "facts" | "begin"; case: string };

const [mode, name, folder = "", ...rest] = process.argv.slice(2);
const { default: question } = (await import(`./${name}.bench.js`)) as { default: Question };

if (mode === "prepare") {
  const [asked = ""] = rest;
  await question.prepare(folder, (of) => of.includes(asked));
} else {
  const [threads = "1", where = "cpu"] = rest;
  setThreads(Number(threads));
  const device = resolveDevice(where);
  const cases = new Map(question.cases(folder, device).map((one) => [one.name, one]));
  say({
    cases: [...cases.values()].map(({ run: _, result: __, facts: ___, ...rest }) => rest),
    versions: { node: process.versions.node, libtorch: engineFacts().libtorch },
    vectors: engineFacts().cpu,
  });
  for await (const line of createInterface({ input: process.stdin }))
    say(await answer(JSON.parse(line) as Command));

  async function answer(command: Command): Promise<unknown> {
    const one = cases.get(command.case);
    if (!one) throw new Error(`${name} has no case ${command.case}`);
    switch (command.do) {
      case "begin":
        forgetPeak();
        return {};
      case "run": {
        const before = now();
        for (let i = 0; i < command.times; i++) await one.run();
        finish(device);
        const after = now();
        return { wall: after.wall - before.wall, cpu: after.cpu - before.cpu };
      }
      case "result":
        return { result: one.result?.() ?? [] };
      case "facts":
        return { peak: peakBytes(), facts: (await one.facts?.()) ?? {} };
    }
  }
}

function say(message: unknown): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Waits until a GPU has done all that it was given; a CPU has. */
function finish(device: Device): void {
  if (device !== "cpu") scope(() => zeros([1], { device }).item());
}

function now(): { wall: number; cpu: number } {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now() / 1e3, cpu: (user + system) / 1e6 };
}
