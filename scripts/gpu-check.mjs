// @ts-check
// Shows on one machine that everything works on its GPU, in eight minutes and without a network. See docs/gpu-check.md.
//
//   npm run gpu-check [-- --device cuda:1 --out FOLDER --seconds 480 --only WORD --dry-run --list]
//   npm run gpu-check -- --pack FILE.tar.xz
//     --device   where it computes (cuda)
//     --out      gets gpu-check.json, gpu-check.md and what the steps write (runs/gpu-check)
//     --seconds  of all steps together; what has no time left is left out (480)
//     --only     the set-up and the steps whose name has the word; may be given again
//     --dry-run  the same on the CPU, with small models alone
//     --list     the steps, without running them
//     --pack     writes an archive for a machine with neither Node nor a network, and runs nothing
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { say } from "../native/lib/say.js";
import { machine } from "./bench/machine.mjs";
import { pack } from "./gpu-check/pack.mjs";
import { pageOf } from "./gpu-check/page.mjs";
import { runSteps } from "./gpu-check/run-steps.mjs";
import { stepsOf } from "./gpu-check/steps.mjs";

const { values } = parseArgs({
  options: {
    device: { type: "string" },
    out: { type: "string", default: "runs/gpu-check" },
    seconds: { type: "string", default: "480" },
    only: { type: "string", multiple: true },
    "dry-run": { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    pack: { type: "string" },
  },
});

const dryRun = values["dry-run"];
const device = values.device ?? (dryRun ? "cpu" : "cuda");
const out = resolve(values.out);
const steps = stepsOf({ device, dryRun, folder: join(out, "work") }).filter(
  ({ name, always }) => always || !values.only || values.only.some((word) => name.includes(word)),
);

if (values.pack !== undefined) say(await pack(resolve(values.pack)));
else if (values.list)
  for (const { name, limit, what } of steps) say(`${name.padEnd(28)} ${limit} s  ${what}`);
else {
  rmSync(join(out, "work"), { recursive: true, force: true }); // a run that is there would go on
  mkdirSync(join(out, "work"), { recursive: true });
  const started = new Date().toISOString();
  const outcomes = await runSteps(steps, {
    seconds: Number(values.seconds),
    gpu: device.startsWith("cuda") ? Number(device.split(":")[1] ?? 0) : undefined,
    tell: ({ name, state, seconds }) => say(`${state.padEnd(8)} ${name}, ${seconds.toFixed(1)} s`),
    // After each step: a machine that is taken away leaves what was found until then.
    keep: (sofar) => write(sofar),
  });
  if (outcomes.some(({ state }) => state !== "ok")) process.exitCode = 1;
  say(`${join(out, "gpu-check.md")} has the results.`);

  /** @param {readonly import("./gpu-check/run-steps.mjs").Outcome[]} sofar */
  function write(sofar) {
    const record = { schema: "spo.gpu-check/1", started, device, dryRun, machine: machine(""), steps: sofar };
    writeFileSync(join(out, "gpu-check.json"), `${JSON.stringify(record, null, 2)}\n`);
    writeFileSync(join(out, "gpu-check.md"), pageOf(record));
  }
}
