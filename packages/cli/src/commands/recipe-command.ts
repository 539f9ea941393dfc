// A command that runs one recipe: options from its schema, presets, files and settings as words.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { resolveConfig, type ScaledSettings, settingsHelp } from "@spo/records/config";
import { requirePlace, UserError } from "@spo/torch/files";
import { launchPlace } from "@spo/torch/launch-place";
import { type Command, Option } from "commander";
import type { RecipeEvent, RecipeOptions } from "spo/recipes";
import type { z } from "zod";
import type { CommonOptions } from "../options/common-options.js";
import { recordedSettings } from "../options/recorded-settings.js";
import { resolveModels } from "../options/resolve-config.js";
import { takeSettings } from "../options/settings-words.js";
import { helpWidth, putJson } from "../terminal/terminal.js";
import { loadEngine } from "./load-engine.js";

export interface RecipeDescription<S extends z.ZodObject> {
  /** Its command, which is also the `kind` of its runs. */
  kind: string;
  schema: S;
  about: string;
  presets?: Readonly<Record<string, object>>;
  /** Settings of its presets and defaults that become shorter with another one. */
  scaled?: ScaledSettings;
  /** Where the result goes inside the run's folder, unless `output` says otherwise. */
  output: string;
  load: () => Promise<(config: z.output<S>, options: RecipeOptions) => AsyncGenerator<RecipeEvent>>;
  example: string;
}

type Options = CommonOptions & { run?: string; profile?: boolean; dryRun?: boolean };

export function recipeCommand<S extends z.ZodObject>(command: Command, recipe: RecipeDescription<S>): void {
  const presets = Object.keys(recipe.presets ?? {});
  takeSettings(command, { schema: recipe.schema, presets })
    .description(recipe.about)
    .argument(
      "[words...]",
      `${presets.length > 0 ? `presets (${presets.join(", ")}), ` : ""}config files, settings`,
    )
    .usage("[preset|file…] [--setting value…] --run <folder>")
    .option(
      "--run <folder>",
      "the run's folder; one that is there goes on, by its own settings or the same given again",
    )
    .option("--profile", "write phases and memory to profile.json of the run, in Chrome's trace format")
    .addOption(new Option("--dry-run", "print the resolved config and do nothing"))
    .addHelpText("after", () =>
      [
        "",
        "Settings (as `--optimizer.lr 3e-5` or `optimizer.lr=3e-5`):",
        settingsHelp(recipe.schema, {
          width: helpWidth(),
          given: { output: `${recipe.output} in the run's folder` },
          groups: recipe.kind.startsWith("train "),
        }),
        "",
        "Examples:",
        `  npx spo ${recipe.kind} ${recipe.example}`,
        `  npx spo ${recipe.kind} my.json --seed 1 --run runs/second --dry-run`,
      ].join("\n"),
    )
    .action(async () => {
      await start(command.args, command.optsWithGlobals<Options>(), recipe);
    });
}

async function start<S extends z.ZodObject>(
  words: readonly string[],
  { run: folder, profile, dryRun, json, quiet }: Options,
  { kind, schema, presets, scaled, output, load }: RecipeDescription<S>,
): Promise<void> {
  // A launcher's fault is told first: the words may be right, and every process says the same.
  if (!dryRun) launchPlace(process.env);
  const options = ["run", "profile", "dry-run", "json", "quiet", "cwd"];
  const recorded = folder === undefined ? undefined : recordedSettings(folder, kind, schema, words, options);
  const config = await resolveConfig(schema, {
    // A dry run needs no folder, but the config names an output.
    defaults: recorded ?? { output: join(folder ?? "runs", output) },
    presets,
    scaled: recorded ? undefined : scaled, // they were when it began
    args: words,
    options,
  });
  if (dryRun) return putJson(config, json ? 0 : 2);
  if (folder === undefined) {
    throw new UserError("--run is missing: the folder that the run goes into.", {
      code: "USAGE",
      hint: `For example --run runs/${kind.split(" ").at(-1)}.`,
    });
  }
  // A finished run is only reported, also from a read-only disk.
  if (!existsSync(join(folder, "config.json"))) requirePlace(folder, "folder");
  await loadEngine();
  const recipe = await load();
  const { runRecipe } = await import("../jobs/run-recipe.js");
  const inPlace = await resolveModels(schema, config as z.output<S> & object, { quiet });
  await runRecipe({ kind, recipe, schema, config: inPlace, folder, profile, json, quiet });
}
