// Splits a prompt into the words that a model reads and the LoRAs that it calls for.
import { hasPromptMarks, type PromptSyntax, takeLoraTags, unsupportedFeatures } from "@spo/diffusion";
import { findLora } from "../options/find-lora.js";

/** A prompt's words and LoRAs. */
export interface PromptWords {
  words: string;
  /** In the order of the prompt. */
  loras: { file: string; weight: number; textWeight: number; inPrompt: true }[];
}

/** plain: all of it is words. Throws UserErrors as `takeLoraTags` and `findLora`. folders: of LoRAs. */
export function promptWords(prompt: string, syntax: PromptSyntax, folders: readonly string[]): PromptWords {
  if (syntax === "plain") return { words: prompt, loras: [] };
  const { prompt: words, loras } = takeLoraTags(prompt);
  return {
    words,
    loras: loras.map(({ name, ...weights }) => ({
      file: findLora(name, folders),
      ...weights,
      inPrompt: true,
    })),
  };
}

/** A negative prompt's words: a LoRA in it is not applied. */
export const negativeWords = (negative: string, syntax: PromptSyntax): string =>
  syntax === "plain" ? negative : takeLoraTags(negative).prompt;

/** Whether the words are read in one context, and what is beyond it is cut off. */
export const isCut = (words: string, syntax: PromptSyntax): boolean =>
  syntax === "plain" || (syntax === "auto" && !hasPromptMarks(words));

/** Warnings of features of a web UI's prompts that are not supported, each once. */
export function promptWarnings(
  prompts: readonly { prompt: string; negative: string }[],
  syntax: PromptSyntax,
): string[] {
  if (syntax === "plain") return [];
  const features = new Set(
    prompts.flatMap(({ prompt, negative }) => unsupportedFeatures(`${prompt}\n${negative}`)),
  );
  const warnings = [...features].map((feature) => `${feature} is not supported in prompts and read as words`);
  if (prompts.some(({ negative }) => takeLoraTags(negative).loras.length > 0))
    warnings.push("a LoRA in a negative prompt is not applied");
  return warnings;
}
