// Options may be written in camelCase or with underscores; the parser knows one spelling.

import { isSpelled } from "@spo/records/spelling";
import type { Command } from "commander";

/**
 * The words with the options of a command, and of those above it, as help shows them: `--batchInvariant on` and `--batch_invariant=on`
 * become `--batch-invariant`, `--guidance` becomes the `--guidance-scale` that it is called now. What is an option's value, or behind `--`,
 * stays.
 */
export function inShownSpelling(words: readonly string[], command: Command): string[] {
  const options: Command["options"][number][] = [];
  for (let at: Command | null = command; at; at = at.parent) options.push(...at.options);
  const found: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (word === "--") return [...found, ...words.slice(i)];
    const [written = "", value] = word.split(/(=.*)/s);
    const option = options.find(
      ({ short, long }) =>
        written === short || (/^--./.test(written) && isSpelled(written.slice(2), long?.slice(2) ?? "")),
    );
    found.push(option?.long && written !== option.short ? `${option.long}${value ?? ""}` : word);
    if (option?.required && value === undefined && i + 1 < words.length) found.push(words[++i] as string);
  }
  return found;
}
