// A command that runs one recipe: options from its schema, presets, files and settings as words.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { requirePlace, UserError } from "@spo/torch/files";
import { type Command, Option } from "commander";
import { resolveConfig, type ScaledSettings, settingsHelp } from "spo/config";
import type { RecipeContext, RecipeEvent } from "spo/recipes";
import { type RecipeKind, SCHEMAS } from "spo/schemas";
import type { z } from "zod";
import type { CommonOptions } from "../options/common-options.js";
import { resolveModels } from "../options/resolve-config.js";
import { helpWidth, putJson } from "../terminal/terminal.js";
import { loadEngine } from "./load-engine.js";

type Config<K extends RecipeKind> = z.output<(typeof SCHEMAS)[K]>;

export interface RecipeDescription<K extends RecipeKind> {
  kind: K;
  about: string;
  presets?: Readonly<Record<string, object>>;
  /** Settings of its presets and defaults that become shorter with another one. */
  scaled?: ScaledSettings;
  /** Where the result goes inside the run's folder, unless `output` says otherwise. */
  output: string;
  load: () => Promise<(config: Config<K>, context: RecipeContext) => AsyncGenerator<RecipeEvent>>;
  example: string;
}

type Options = CommonOptions & { run?: string; dryRun?: boolean };

export function recipeCommand<K extends RecipeKind>(command: Command, recipe: RecipeDescription<K>): void {
  const presets = Object.keys(recipe.presets ?? {});
  command
    .description(recipe.about)
    .argument(
      "[words...]",
      `${presets.length > 0 ? `presets (${presets.join(", ")}), ` : ""}config files, settings`,
    )
    .usage("[preset|file…] [--setting value…] --run <folder>")
    .allowUnknownOption() // settings: the schema knows them
    .option("--run <folder>", "the run's folder; called again with the same settings, the run goes on")
    .addOption(new Option("--dry-run", "print the resolved config and do nothing"))
    .addHelpText("after", () =>
      [
        "",
        "Settings (as `--optimizer.lr 3e-5` or `optimizer.lr=3e-5`):",
        settingsHelp(SCHEMAS[recipe.kind], {
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

async function start<K extends RecipeKind>(
  words: readonly string[],
  { run: folder, dryRun, json, quiet }: Options,
  { kind, presets, scaled, output, load }: RecipeDescription<K>,
): Promise<void> {
  const config = await resolveConfig(SCHEMAS[kind], {
    // Without a folder there still is a config to look at.
    defaults: { output: join(folder ?? "runs", output) },
    presets,
    scaled,
    args: words,
    options: ["run", "dry-run", "json", "quiet", "cwd"],
  });
  if (dryRun) return putJson(config, json ? 0 : 2);
  if (folder === undefined) {
    throw new UserError("--run is missing: the folder that the run goes into.", {
      code: "USAGE",
      hint: `For example --run runs/${kind.split(" ").at(-1)}.`,
    });
  }
  // A finished run is told of, wherever it lies.
  if (!existsSync(join(folder, "config.json"))) requirePlace(folder, "folder");
  await loadEngine();
  const recipe = await load();
  const { runRecipe } = await import("../jobs/run-recipe.js");
  const inPlace = await resolveModels(SCHEMAS[kind], config as Config<K> & object, { quiet });
  await runRecipe({ kind, recipe, config: inPlace, folder, json, quiet });
}
