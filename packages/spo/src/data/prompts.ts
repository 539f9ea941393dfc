import { UserError } from "@spo/torch/files";
import { linesOf, readJson, readText } from "@spo/torch/text-files";

/** Letters of the longest line that is taken for a prompt: models read some 77 tokens. */
const LONGEST = 10_000;

/**
 * Prompts of text files, one a line, empty lines left out; or of `.json` files: a list of texts, or of objects with `prompt` or `caption`,
 * as SPO's published prompts have them. Throws a UserError (`DATA`) when a file is absent or none is left.
 */
export function readPrompts(paths: string | readonly string[]): string[] {
  const files = typeof paths === "string" ? [paths] : paths;
  const prompts = files.flatMap((path) =>
    /\.json$/i.test(path)
      ? promptList(path)
      : promptLines(readText(path, "prompt file"), path).map(({ prompt }) => prompt),
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

function promptList(path: string): string[] {
  const list = readJson(path);
  const prompts = (Array.isArray(list) ? list : []).map((entry: unknown) => {
    const { prompt, caption } = Object(entry) as { prompt?: unknown; caption?: unknown };
    return typeof entry === "string" ? entry : (prompt ?? caption);
  });
  const wrong = prompts.findIndex((prompt) => typeof prompt !== "string" || prompt.length > LONGEST);
  if (!Array.isArray(list) || wrong >= 0) {
    throw new UserError(
      Array.isArray(list)
        ? `${path}: entry ${wrong + 1} is no prompt.`
        : `${path}: there is no list of prompts.`,
      {
        code: "DATA",
        hint: `Write a list of texts of at most ${LONGEST} letters, or of objects with "prompt" or "caption".`,
      },
    );
  }
  return (prompts as string[]).map((prompt) => prompt.trim()).filter((prompt) => prompt !== "");
}
