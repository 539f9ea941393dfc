import { UserError } from "@spo/torch/files";
import { Option } from "commander";
import { resolveModel } from "./resolve-model.js";

/** `--part name=path`: models that a checkpoint in one file lacks. May be given several times. */
export const partOption = (): Option =>
  new Option(
    "--part <name=path>",
    "a model that a checkpoint file lacks, as vae=ae.safetensors; a file or folder; may be given several times",
  )
    .argParser((value: string, before: readonly string[]) => [...before, value])
    .default([], "none");

/** Paths by the parts' names. Throws a UserError (`USAGE`) for what is no `name=path`. */
export async function resolveParts(
  given: readonly string[],
  options: { quiet?: boolean },
): Promise<Record<string, string>> {
  const parts: Record<string, string> = {};
  for (const each of given) {
    const [, name, path] = /^(\w+)=(.+)$/s.exec(each) ?? [];
    if (name === undefined || path === undefined)
      throw new UserError(`--part ${each} is no name=path.`, {
        code: "USAGE",
        hint: "Name the part as its folder is in diffusers layout: --part vae=ae.safetensors.",
      });
    parts[name] = await resolveModel(path, options);
  }
  return parts;
}
