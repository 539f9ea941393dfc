// One name in three spellings: `guidanceScale` in a config, `--guidance-scale` on the command line, `guidance_scale` in the head of a
// Python user. No imports: the command reads its options by it before it loads anything else.

/** Names that options had before, and those that they have. Understood on the command line, without a word. */
const FORMER: Readonly<Record<string, string>> = {
  from: "prompts",
  guidance: "guidance-scale",
  out: "output",
};

/**
 * A name as the command line shows it: words with dashes between, `optimizer.weight-decay`. name: of a setting or an option, a path with
 * dots too.
 */
export const kebabCase = (name: string): string =>
  name.replaceAll("_", "-").replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Whether a word is a name: in another spelling, or the name that it had before. Both without leading dashes. */
export function isSpelled(word: string, name: string): boolean {
  const [spelling, shown] = [kebabCase(word), kebabCase(name)];
  if (spelling === shown) return true;
  const [, outer = "", last = ""] = /^(.*\.)?(.*)$/s.exec(spelling) ?? [];
  return Object.hasOwn(FORMER, last) && outer + FORMER[last] === shown;
}

/** A text with the names among its words as the command line shows them. names: of settings; those of one small word are left as words. */
export function withOptionNames(text: string, names: readonly string[]): string {
  const known = new Set(names.filter((name) => kebabCase(name) !== name));
  return text.replaceAll(/(?<![\w./-])[a-z]\w*(?:\.\w+)*(?![\w/-])/g, (word) =>
    known.has(word) ? `--${kebabCase(word)}` : word,
  );
}
