// Prompts with settings of their own, in the syntax of kohya's prompt files.
import { UserError } from "@spo/torch/files";
import { promptLines } from "./prompt-lines.js";

/** A prompt and the settings that its line ends with. */
export interface PromptLine {
  prompt: string;
  negative?: string;
  width?: number;
  height?: number;
  seed?: number;
  guidance?: number;
  steps?: number;
}

/** Letter → setting, and whether its value is a whole number, any number, or text. */
const SETTINGS: Readonly<Record<string, [keyof PromptLine, "whole" | "number" | "text"]>> = {
  n: ["negative", "text"],
  w: ["width", "whole"],
  h: ["height", "whole"],
  d: ["seed", "whole"],
  l: ["guidance", "number"],
  s: ["steps", "whole"],
};

/**
 * `a cat --n blurry --w 512 --h 768 --d 7 --l 7.5 --s 30`. where: for the message, such as `prompts.txt, line 3`.
 *
 * Throws a UserError (`DATA`) for a setting that is not known or a value that is no number.
 */
export function parsePromptLine(line: string, where: string): PromptLine {
  // A letter and a space: words of the prompt itself may have dashes.
  const [prompt = "", ...parts] = ` ${line}`.split(/ --(?=\w(?:\s|$))/);
  const parsed: PromptLine = { prompt: prompt.trim() };
  for (const part of parts) {
    const letter = part[0] as string;
    const text = part.slice(1).trim();
    const [name, kind] = SETTINGS[letter.toLowerCase()] ?? [];
    if (!name) {
      throw fault(where, `--${letter} is no setting of a prompt: ${Object.keys(SETTINGS).join(", ")} are`);
    }
    if (kind === "text") {
      Object.assign(parsed, { [name]: text });
      continue;
    }
    const value = Number(text);
    if (
      text === "" ||
      !Number.isFinite(value) ||
      (kind === "whole" && !(Number.isSafeInteger(value) && value >= 0))
    )
      throw fault(
        where,
        `--${letter} needs ${kind === "whole" ? "a whole number" : "a number"}, found "${text}"`,
      );
    Object.assign(parsed, { [name]: value });
  }
  return parsed;
}

/** Lines of a prompt file without empty ones and comments. Throws a UserError (`DATA`) where one does not parse. */
export function parsePromptFile(text: string, name: string): PromptLine[] {
  return promptLines(text, name).map(({ line, prompt }) => parsePromptLine(prompt, `${name}, line ${line}`));
}

const fault = (where: string, text: string): UserError =>
  new UserError(`${where}: ${text}.`, { code: "DATA" });
