import { type Check, environmentChecks } from "@spo/native/libtorch";
import type { Command } from "commander";
import type { CommonOptions } from "../options/common-options.js";
import { painter, put, putJson } from "../terminal/terminal.js";
import { loadEngine } from "./load-engine.js";

type Finding = Omit<Check, "name"> & { name: string };

export default function (command: Command): void {
  command
    .summary("check what this machine offers")
    .description("Checks what the product needs, and tells the command that mends what is missing.")
    .addHelpText(
      "after",
      "\nExamples:\n  npx spo doctor\n  npx spo doctor --json | jq '.checks[] | select(.ok | not)'",
    )
    .action(async () => doctor(command.optsWithGlobals()));
}

async function doctor({ json }: CommonOptions): Promise<void> {
  const checks: Finding[] = await environmentChecks();
  if (checks.find(({ name }) => name === "addon")?.ok) checks.push(await engine());
  const ok = checks.every((check) => check.ok);
  if (!ok) process.exitCode = 7;
  if (json) return putJson({ schema: "spo.doctor/1", ok, checks });

  const paint = painter(process.stdout);
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, ok: good, found, fix } of checks) {
    put(`${good ? paint("green", "ok  ") : paint("red", "FAIL")}  ${name.padEnd(width)}  ${found}`);
    if (fix)
      put(`${" ".repeat(width + 8)}${paint("bold", fix.replaceAll("\n", `\n${" ".repeat(width + 8)}`))}`);
  }
  const wrong = checks.filter((check) => !check.ok).length;
  put(ok ? "\nAll that is needed is there." : `\n${wrong} of ${checks.length} checks failed.`);
}

/** Whether the addon loads, and the number of its threads. */
async function engine(): Promise<Finding> {
  try {
    const { engineFacts, getThreads } = await loadEngine();
    const facts = { ...engineFacts(), threads: getThreads() };
    const found = `libtorch ${facts.libtorch} loads; ${facts.cpu}, ${facts.backend}, ${facts.threads} threads`;
    return { name: "engine", ok: true, found, fix: null, facts };
  } catch (error) {
    return {
      name: "engine",
      ok: false,
      found: (error as Error).message,
      fix: "npx spo setup --again",
      facts: {},
    };
  }
}
