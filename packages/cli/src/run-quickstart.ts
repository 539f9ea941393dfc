import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "@spo/torch/files";
import { type QuickstartResult, quickstart } from "spo/recipes";
import type { QuickstartCommandOptions } from "./commands/quickstart.js";
import { interruptible } from "./interruption.js";
import { ProgressBar } from "./progress-bar.js";

const EXAMPLE = fileURLToPath(new URL("../../../examples/emoji", import.meta.url));

export async function runQuickstart(options: QuickstartCommandOptions): Promise<QuickstartResult> {
  const { fast = false, control = false, example = EXAMPLE, seed, quiet } = options;
  const folder = options.out ?? defaultFolder({ fast, control, seed });
  if (!existsSync(join(example, "quickstart.json"))) {
    throw new UserError(`${example} is no example folder: it has no quickstart.json.`, { code: "DATA" });
  }
  const bar = new ProgressBar({ quiet });
  const signal = interruptible((text) => bar.say(text));
  const spo = { ...(control && { judge: "random" }), ...(seed !== undefined && { seed }) };
  try {
    const run = quickstart({ example, folder, fast, spo }, { signal });
    for (;;) {
      const { value, done } = await run.next();
      if (done) {
        bar.end();
        return value;
      }
      bar.advance(value);
    }
  } catch (error) {
    bar.end();
    if (signal.aborted && error === signal.reason)
      bar.say(`stopped; what is done is in ${folder}. The same command goes on from there.`);
    throw error;
  }
}

/** Other settings are another run: each has a folder of its own. */
function defaultFolder({ fast, control, seed }: { fast: boolean; control: boolean; seed?: number }): string {
  const parts = ["quickstart", fast && "fast", control && "control", seed !== undefined && `seed-${seed}`];
  return join("runs", parts.filter(Boolean).join("-"));
}
