import { QUICKSTART_FAMILIES } from "@spo/example-emoji/schemas";
import { requirePlace } from "@spo/torch/files";
import { type Command, Option } from "commander";
import type { QuickstartCommandOptions } from "../jobs/run-quickstart.js";
import { seed, wholeFrom } from "../options/option-values.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description(
      "Trains a preference model, post-trains the example's model by it, and reports base and SPO side by side.",
    )
    .option("--fast", "less training and fewer images: shows that it works, not what it reaches")
    .option("-o, --output <folder>", "where runs and report go; called again, it goes on (runs/quickstart)")
    .option("--example <folder>", "model, data and settings (the embedded one)")
    .addOption(
      new Option(
        "--family <name>",
        "which of the example's models: sd15, a Stable Diffusion, or sd3, a flow model (sd15)",
      ).choices(Object.keys(QUICKSTART_FAMILIES)),
    )
    .addOption(
      new Option(
        "--judge <kind>",
        "what the preference model looks at: latent, or pixel (latent; pixel for sd3, which has no other)",
      ).choices(["latent", "pixel"]),
    )
    .option("--seed <number>", "seed of the SPO training", seed)
    .option("--device <name>", "where everything is computed: cpu, cuda or cuda:N (cpu)")
    .option("--nproc <number>", "processes that share the work, with one thread each", wholeFrom(1, 64))
    .option("--control", "random scores in place of the preference model's, everything else equal")
    .addHelpText(
      "after",
      "\nExamples:\n  npx spo quickstart\n  npx spo quickstart --fast --output runs/try --json",
    )
    .action(async () => {
      const { output, nproc } = command.optsWithGlobals<QuickstartCommandOptions & { nproc?: number }>();
      if (output !== undefined) requirePlace(output, "folder");
      if (nproc !== undefined && !process.env.RANK) {
        const { launchSelf } = await import("../jobs/launch.js");
        process.exitCode = await launchSelf(nproc);
        return;
      }
      await loadEngine();
      const { runQuickstart } = await import("../jobs/run-quickstart.js");
      await runQuickstart(command.optsWithGlobals<QuickstartCommandOptions>());
    });
}
