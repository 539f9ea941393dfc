// A new training that begins where another one was, or as a LoRA: `--from RUN`, `--from RUN@STEP`, `--from lora.safetensors`.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { checkCheckpoint, listCheckpoints } from "@spo/records";
import { noGrad, openSafetensors, UserError } from "@spo/torch";
import type { Weights } from "./policy.js";
import { STATE_FILE } from "./training-state.js";

/** What is to be filled, by its name in a checkpoint; and what reads a LoRA's file, where that can be. */
export interface Started {
  modules: Readonly<Record<string, Weights>>;
  loadLora?: (path: string) => void;
}

/**
 * Fills weights with those that `from` names. For a new run alone: one that goes on has its own checkpoints.
 *
 * Throws a UserError: `DATA` for what is no run and no LoRA, for a step without a whole checkpoint; `CONFIG` for weights of other names or
 * shapes.
 */
export function startFrom(from: string, { modules, loadLora }: Started): void {
  const [, run = from, step] = existsSync(from) ? [] : (/^(.+)@(\d+)$/.exec(from) ?? []);
  if (loadLora && existsSync(run) && !existsSync(join(run, "config.json"))) {
    loadLora(run);
    return;
  }
  const file = join(checkpointOf(run, step), STATE_FILE);
  using saved = openSafetensors(file);
  for (const [module, weights] of Object.entries(modules)) {
    const named = weights.namedParameters();
    const there = new Set(saved.keys().filter((key) => key.startsWith(`${module}/`)));
    const faults = [...named].flatMap(([name, { shape }]) => {
      const key = `${module}/${name}`;
      if (!there.delete(key)) return [`  ${name}: not there, here [${shape.join(", ")}]`];
      const found = saved.info(key).shape;
      return found.join() === shape.join()
        ? []
        : [`  ${name}: there [${found.join(", ")}], here [${shape.join(", ")}]`];
    });
    faults.push(...[...there].map((key) => `  ${key.slice(module.length + 1)}: there, and not here`));
    if (faults.length > 0)
      throw new UserError(
        `${from} trained other weights than this run: ${faults.length} differ.\n${faults.slice(0, SHOWN).join("\n")}`,
        { code: "CONFIG", hint: "Give the model, adapter, rank, targets and text encoders of that run." },
      );
    noGrad(() => {
      for (const [name, target] of named) {
        using value = saved.get(`${module}/${name}`);
        target.detach().copy_(value);
      }
    });
  }
}

/** Weights that an error names; a model has hundreds. */
const SHOWN = 5;

/** The folder of a run's checkpoint, whole. step: none for the newest. */
function checkpointOf(run: string, step?: string): string {
  const all = listCheckpoints(join(run, "checkpoints"));
  if (!existsSync(join(run, "config.json")) || all.length === 0)
    throw new UserError(existsSync(run) ? `${run} is no run with checkpoints.` : `${run} does not exist.`, {
      code: "DATA",
      hint: "from is a run's folder, RUN@STEP, or the file of a LoRA.",
    });
  const asked = step === undefined ? all.at(-1) : all.find((each) => each.step === Number(step));
  const steps = all.map((each) => each.step).join(" and ");
  if (!asked)
    throw new UserError(`${run} has no checkpoint of step ${step}.`, {
      code: "DATA",
      hint: `There are those of step ${steps}: a run keeps its newest.`,
    });
  const { fault, folder } = checkCheckpoint(asked);
  if (fault === undefined) return folder;
  throw new UserError(`${folder} is damaged: ${fault}.`, {
    code: "DATA",
    hint: `Checkpoints of ${run} are those of step ${steps}; name another one as ${run}@STEP.`,
  });
}
