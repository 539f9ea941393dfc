// From votes to a diffusion model: labelled pairs, a preference model, SPO.
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { openPairs } from "@spo/data";
import { resolveConfig } from "@spo/records/config";
import { launchPlace } from "@spo/torch/distributed";
import { UserError, withLock, writeFileAtomic } from "@spo/torch/files";
import { spmPresets, spoPresets } from "spo/presets";
import { trainSpm, trainSpo } from "spo/recipes";
import { TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import type { CommonOptions } from "../options/common-options.js";
import { resolveModels } from "../options/resolve-config.js";
import { say } from "../terminal/terminal.js";
import { convertSet } from "./convert-set.js";
import { runRecipe } from "./run-recipe.js";

/** Of `spo train votes`. */
export interface VotesTrainingOptions extends CommonOptions {
  model: string;
  run: string;
  from?: string;
  prompts?: string;
  spm?: string[];
  spo?: string[];
}

/**
 * Trains a preference model on the pairs that have votes, and SPO by it; what is done is not done again. from: the folder of
 * an earlier such training, whose diffusion model goes on.
 *
 * Throws a UserError (`DATA`) where nobody has voted, and as the two trainings.
 */
export async function trainOnVotes(set: string, options: VotesTrainingOptions): Promise<void> {
  const { model, run, from, spm = [], spo = [], json, quiet } = options;
  const at = (...path: string[]): string => join(run, ...path);
  const pairs = at("pairs.parquet");
  const prompts = options.prompts ?? at("prompts.json");
  // Before anything is written: faults of both trainings.
  const spmConfig = await resolveConfig(TrainSpmConfig, {
    // What people judged has no held-out part.
    defaults: { model, pairs: [pairs], evalPairs: 0, output: at("spm", "model") },
    ...{ presets: spmPresets, args: spm },
  });
  const spoConfig = await resolveConfig(TrainSpoConfig, {
    defaults: {
      ...{ model, spm: spmConfig.output, prompts, output: at("spo", "model") },
      ...(from !== undefined && { from: join(from, "spo") }),
    },
    ...{ presets: spoPresets, args: spo },
  });
  const common = { json, quiet };
  const train = async (): Promise<void> => {
    if (!existsSync(pairs)) await labelledPairs(set, pairs, options);
    if (!existsSync(prompts) && options.prompts === undefined)
      writeFileAtomic(prompts, await promptsOf(pairs));
    await runRecipe({
      ...{ kind: "train spm", recipe: trainSpm, schema: TrainSpmConfig, folder: at("spm"), ...common },
      config: await resolveModels(TrainSpmConfig, spmConfig, { quiet }),
    });
    await runRecipe({
      ...{ kind: "train spo", recipe: trainSpo, schema: TrainSpoConfig, folder: at("spo"), ...common },
      config: await resolveModels(TrainSpoConfig, spoConfig, { quiet }),
    });
  };
  if (launchPlace(process.env)?.rank) return train(); // rank 0 holds the lock for all
  // As a run's own: who looks at the folder sees that a process is at work, also between the trainings.
  await withLock(at("writer.json"), train, {
    onWait: () => say(`waiting for another process that trains in ${run} …`),
  });
}

async function labelledPairs(set: string, output: string, { json, quiet }: CommonOptions): Promise<void> {
  const votes = join(dirname(resolve(set)), `${basename(resolve(set))}.votes.jsonl`);
  if (!existsSync(votes))
    throw new UserError(`${votes} does not exist: nobody has judged ${set} yet.`, {
      code: "DATA",
      hint: "`npx spo studio` in the folder above it, then Judge.",
    });
  await convertSet([set], "parquet", { output, votes, json, quiet });
}

/** Its prompts, once each, as a JSON list. */
async function promptsOf(pairs: string): Promise<string> {
  const source = await openPairs(pairs);
  try {
    const facts = await Promise.all(source.blocks.map((_, block) => source.facts(block)));
    return JSON.stringify([...new Set(facts.flat().map(({ prompt }) => prompt))]);
  } finally {
    await source.close();
  }
}
