import { hasExplicitWeights } from "@spo/diffusion/prompt-weights";
import { warn } from "@spo/torch/warnings";

/** Warns once where texts have prompt weights or LoRAs: trainings and evaluations read them letter by letter. source: the file or set. */
export function warnOfPromptWeights(source: string, texts: Iterable<string>): void {
  let [count, first] = [0, ""];
  for (const text of texts)
    if (hasExplicitWeights(text) && count++ === 0)
      first = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  if (count > 0)
    warn(
      `${source}: ${count === 1 ? "a prompt has" : `${count} prompts have`} weights or LoRAs in brackets, which are read as words here: ${JSON.stringify(first)}.`,
    );
}
