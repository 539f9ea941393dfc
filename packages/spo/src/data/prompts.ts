import { existsSync, readFileSync } from "node:fs";
import { UserError } from "@spo/torch/files";

/** Prompts of text files, one a line; empty lines are left out. Throws a UserError (`DATA`) when a file is absent or none is left. */
export function readPrompts(paths: string | readonly string[]): string[] {
  const files = typeof paths === "string" ? [paths] : paths;
  const prompts = files.flatMap((path) => {
    if (!existsSync(path)) throw new UserError(`The prompt file ${path} does not exist.`, { code: "DATA" });
    return readFileSync(path, "utf8")
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter((line) => line !== "");
  });
  if (prompts.length === 0) {
    throw new UserError(`${files.join(", ")}: there is no prompt.`, {
      code: "DATA",
      hint: "Write one prompt a line.",
    });
  }
  return prompts;
}
