// The words of a prompt with their weights, in the grammar of A1111's web UI: (x), ((x)), [x], (x:1.3), \( \) and BREAK.

/** A stretch of a prompt whose words count alike. */
export interface WeightedText {
  text: string;
  /** What its embeddings are multiplied by; 1: as they are. */
  weight: number;
}

/** A prompt up to its end or to the word BREAK, after which a new context of 75 tokens begins. */
export type WeightedPart = readonly WeightedText[];

/** How prompts are read. auto: as `a1111` where a prompt has that grammar's marks, and else as `plain`, each letter a letter. */
export type PromptSyntax = "auto" | "a1111" | "plain";

const STRONGER = 1.1;

/** Escapes, brackets, a weight with its closing bracket, and what is between them. */
const TOKENS = /\\[()[\]\\]|[\\()[\]]|:[ \t\n\r\f\v]*([+-]?[.\d]+)[ \t\n\r\f\v]*\)|[^\\()[\]:]+|:/g;

const BREAK = /\s*\bBREAK\b\s*/;

/** Whether a prompt has anything that the grammar reads as more than words. */
export const hasPromptMarks = (prompt: string): boolean => /[()[\]\\]|\bBREAK\b/.test(prompt);

/**
 * Reads a prompt: `(x)` multiplies the weight of x by 1.1, `[x]` divides it by 1.1, `(x:1.3)` multiplies it by 1.3. Brackets add up.
 * One that is not closed reaches to the end. A backslash makes a bracket a letter. BREAK ends a part. Any text parses.
 *
 * Neighbours of equal weight are one text; each part has at least one. Source: the grammar that A1111's web UI documents
 * (`parse_prompt_attention`).
 */
export function parsePromptWeights(prompt: string): WeightedPart[] {
  const pieces: { text: string; weight: number; breaks?: true }[] = [];
  const open: { round: number[]; square: number[] } = { round: [], square: [] };
  const multiply = (from: number, by: number): void => {
    for (const piece of pieces.slice(from)) piece.weight *= by;
  };
  for (const [token, weight] of prompt.matchAll(TOKENS)) {
    if (token.startsWith("\\")) pieces.push({ text: token.slice(1), weight: 1 });
    else if (token === "(") open.round.push(pieces.length);
    else if (token === "[") open.square.push(pieces.length);
    else if (weight !== undefined && Number.isFinite(Number(weight)) && open.round.length > 0)
      multiply(open.round.pop() as number, Number(weight));
    else if (token === ")" && open.round.length > 0) multiply(open.round.pop() as number, STRONGER);
    else if (token === "]" && open.square.length > 0) multiply(open.square.pop() as number, 1 / STRONGER);
    else
      for (const [i, text] of token.split(BREAK).entries()) {
        if (i > 0) pieces.push({ text: "", weight: 1, breaks: true });
        pieces.push({ text, weight: 1 });
      }
  }
  for (const from of open.round) multiply(from, STRONGER);
  for (const from of open.square) multiply(from, 1 / STRONGER);

  const parts: WeightedText[][] = [[]];
  for (const { text, weight, breaks } of pieces) {
    const part = parts.at(-1) as WeightedText[];
    const last = part.at(-1);
    if (breaks) parts.push([]);
    else if (last?.weight === weight) part[part.length - 1] = { text: last.text + text, weight };
    else part.push({ text, weight });
  }
  return parts.map((part) => (part.length > 0 ? part : [{ text: "", weight: 1 }]));
}

/** Features of web UIs' prompts that are not supported: each is read as words. Their patterns and names. */
const UNSUPPORTED: readonly [RegExp, string][] = [
  [/\[[^[\]]*:[^[\]]*\]/, "prompt scheduling, [from:to:when]"],
  [/\[[^[\]]*\|[^[\]]*\]/, "alternating words, [a|b]"],
  [/\bAND\b/, "composition by AND"],
  [/__[\w/*-]+__/, "wildcards, __name__"],
  [/\{[^{}]*\|[^{}]*\}/, "variants, {a|b}"],
  [/\bembedding:\S/, "textual inversion, embedding:name"],
  [/<(?!lora:|lyco:)\w+:[^<>]+>/, "an extra network other than a LoRA, <kind:name>"],
];

/** The features that a prompt asks for and that are not supported, by name. */
export const unsupportedFeatures = (prompt: string): string[] =>
  UNSUPPORTED.flatMap(([pattern, name]) => (pattern.test(prompt) ? [name] : []));

/** Whether a text has marks of weights or LoRAs that cannot be brackets of plain English: `(x:1.3)`, `((x))`, `<lora:x:1>`. */
export const hasExplicitWeights = (text: string): boolean =>
  /\([^()]*:\s*[+-]?(\d+\.?\d*|\.\d+)\s*\)|\(\([^()]*\)\)|<(lora|lyco):[^<>]+>/.test(text);
