import { UserError } from "@spo/torch/files";
import { linesOf, readText } from "@spo/torch/text-files";

/** Letters of the longest line that is taken for a prompt: models read some 77 tokens. */
const LONGEST = 10_000;

/** Prompts of text files, one a line; empty lines are left out. Throws a UserError (`DATA`) when a file is absent or none is left. */
export function readPrompts(paths: string | readonly string[]): string[] {
  const files = typeof paths === "string" ? [paths] : paths;
  const prompts = files.flatMap((path) =>
    promptLines(readText(path, "prompt file"), path).map(({ prompt }) => prompt),
  );
  if (prompts.length === 0) {
    throw new UserError(`${files.join(", ")}: there is no prompt.`, {
      code: "DATA",
      hint: "Write one prompt a line.",
    });
  }
  return prompts;
}

/**
 * Lines of a prompt file that are not empty, trimmed, each with its number from 1. name: of the file, for the message.
 *
 * Throws a UserError (`DATA`) for a line that is far too long for a prompt: another kind of file, or one whose line ends were lost.
 */
export function promptLines(text: string, name: string): { line: number; prompt: string }[] {
  return linesOf(text).flatMap((whole, i) => {
    const prompt = whole.trim();
    if (prompt.length > LONGEST) {
      throw new UserError(`${name}, line ${i + 1}: ${prompt.length} letters are no prompt.`, {
        code: "DATA",
        hint: `Write one prompt a line; a line has at most ${LONGEST} letters.`,
      });
    }
    return prompt === "" ? [] : [{ line: i + 1, prompt }];
  });
}
