// `--lora file[:weight]` of the commands that lay adapters over a model.
import { existsSync } from "node:fs";
import { UserError } from "@spo/torch/files";
import { resolveModel } from "./resolve-model.js";

/** An adapter and its strength. */
export interface LoraChoice {
  file: string;
  weight: number;
}

/** `file:0.7`; without a weight it is 1. Throws a UserError (`USAGE`) for a weight that is no number. */
function parseLora(text: string): LoraChoice {
  const [, file = text, weight = "1"] = /^(.+):(-?[\d.]+)$/.exec(text) ?? saidWrong(text) ?? [];
  if (!Number.isFinite(Number(weight)))
    throw new UserError(`--lora ${text}: ${weight} is no weight.`, { code: "USAGE" });
  return { file, weight: Number(weight) };
}

/** `file:heavy` with a file that is there: it is the weight that is wrong. */
function saidWrong(text: string): RegExpExecArray | undefined {
  const parts = /^(.+):([^:/\\]*)$/.exec(text);
  return parts && !existsSync(text) && existsSync(parts[1] as string) ? parts : undefined;
}

/** Paths in place of the hub's names. */
export async function resolveLoras(
  texts: readonly string[],
  { quiet }: { quiet?: boolean },
): Promise<LoraChoice[]> {
  const loras: LoraChoice[] = [];
  for (const { file, weight } of texts.map(parseLora))
    loras.push({ file: await resolveModel(file, { quiet }), weight });
  return loras;
}
