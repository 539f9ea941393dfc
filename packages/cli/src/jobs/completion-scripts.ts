import { readFileSync } from "node:fs";

/** Shells that have a completion script. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
/** One of `SHELLS`. */
export type Shell = (typeof SHELLS)[number];

/** The script by which a shell completes `spo` and `npx spo`. asking: the words of the command that it asks for candidates. */
export function completionScript(shell: Shell, asking: readonly string[]): string {
  const quote = shell === "fish" ? "\\'" : "'\\''";
  const call = asking.map((word) => `'${word.replaceAll("'", quote)}'`).join(" ");
  const script = readFileSync(new URL(`../../completions/spo.${shell}`, import.meta.url), "utf8");
  return script.replaceAll("@ASK@", () => call);
}
