import { UserError } from "@spo/torch/files";
import { linesOf } from "@spo/torch/text-files";

/** Letters of the longest line that is taken for a prompt: models read some 77 tokens. */
export const LONGEST_PROMPT = 10_000;

/**
 * Lines of a prompt file without blank ones and those that begin with `#`, trimmed, each with its number from 1. name: of the file, for the
 * message.
 *
 * Throws a UserError (`DATA`) for a line that is far too long for a prompt: another kind of file, or one whose line ends were lost.
 */
export function promptLines(text: string, name: string): { line: number; prompt: string }[] {
  return linesOf(text).flatMap((whole, i) => {
    const prompt = whole.trim();
    if (prompt.startsWith("#")) return [];
    if (prompt.length > LONGEST_PROMPT) {
      throw new UserError(`${name}, line ${i + 1}: ${prompt.length} letters are no prompt.`, {
        code: "DATA",
        hint: `Write one prompt a line; a line has at most ${LONGEST_PROMPT} letters.`,
      });
    }
    return prompt === "" ? [] : [{ line: i + 1, prompt }];
  });
}
