import { UserError } from "@spo/torch/files";
import { readJson, readText } from "@spo/torch/text-files";
import { parsePromptLine } from "./prompt-line.js";
import { LONGEST_PROMPT, promptLines } from "./prompt-lines.js";
import { warnOfPromptWeights } from "./warn-of-prompt-weights.js";

/** How prompts are read where they have no settings of their own. */
export interface PromptsOptions {
  /** Told of settings (`--w 512`) that were left out. Without it a line that has some is refused. */
  onWarning?: (message: string) => void;
}

/**
 * Prompts of text files, one a line, as `promptLines` reads them, without the settings that kohya's prompt files have at their ends; or of
 * `.json` files: a list of texts, or of objects with `prompt` or `caption`, as SPO's published prompts have them.
 *
 * Throws a UserError (`DATA`) when a file is absent, when none is left, and for a line that has settings and nothing else.
 */
export function readPrompts(paths: string | readonly string[], { onWarning }: PromptsOptions = {}): string[] {
  const files = typeof paths === "string" ? [paths] : paths;
  const prompts = files.flatMap((path) => {
    if (/\.json$/i.test(path)) return promptList(path);
    const stripped: { line: number; words: string }[] = [];
    const found = promptLines(readText(path, "prompt file"), path).map(({ line, prompt: whole }) => {
      const prompt = withoutSettings(whole);
      if (prompt === whole) return whole;
      const words = whole.slice(prompt.length).trim();
      if (prompt === "") {
        throw new UserError(`${path}, line ${line}: before ${words} there is no prompt.`, { code: "DATA" });
      }
      stripped.push({ line, words });
      return prompt;
    });
    const [first] = stripped;
    if (first) {
      const lines = stripped.length === 1 ? "1 line has" : `${stripped.length} lines have`;
      const what = `${path}: ${lines} settings of their own, first ${first.words} in line ${first.line}`;
      if (!onWarning) {
        throw new UserError(`${what}.`, {
          code: "DATA",
          hint: "Settings of one prompt are for spo sample --prompts: take them off here.",
        });
      }
      onWarning(`${what}: they are left out, as they are for spo sample --prompts alone`);
    }
    return found;
  });
  if (prompts.length === 0) {
    throw new UserError(`${files.join(", ")}: there is no prompt.`, {
      code: "DATA",
      hint: "Write one prompt a line.",
    });
  }
  warnOfPromptWeights(files.join(", "), prompts);
  return prompts;
}

/** A prompt without kohya's settings behind it. What does not parse as such is words: other programs write `--v 5`. */
function withoutSettings(line: string): string {
  try {
    const { prompt, ...settings } = parsePromptLine(line, "");
    return Object.keys(settings).length > 0 ? prompt : line;
  } catch (error) {
    if (error instanceof UserError) return line;
    throw error;
  }
}

function promptList(path: string): string[] {
  const list = readJson(path);
  const prompts = (Array.isArray(list) ? list : []).map((entry: unknown) => {
    const { prompt, caption } = Object(entry) as { prompt?: unknown; caption?: unknown };
    return typeof entry === "string" ? entry : (prompt ?? caption);
  });
  const wrong = prompts.findIndex((prompt) => typeof prompt !== "string" || prompt.length > LONGEST_PROMPT);
  if (!Array.isArray(list) || wrong >= 0) {
    throw new UserError(
      Array.isArray(list)
        ? `${path}: entry ${wrong + 1} is no prompt.`
        : `${path}: there is no list of prompts.`,
      {
        code: "DATA",
        hint: `Write a list of texts of at most ${LONGEST_PROMPT} letters, or of objects with "prompt" or "caption".`,
      },
    );
  }
  return (prompts as string[]).map((prompt) => prompt.trim()).filter((prompt) => prompt !== "");
}
