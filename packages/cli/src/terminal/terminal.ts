// Words for people go to stderr; stdout is for data.

/** Whether a stream may be coloured: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal that can. */
export function hasColour(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== "0";
  return stream.isTTY === true && env.TERM !== "dumb" && !env.CI;
}

/** Whether a line on a stream can be drawn again. */
export const redraws = (stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean =>
  stream.isTTY === true && env.TERM !== "dumb" && !env.CI;

const CODES = { green: 32, red: 31, yellow: 33, dim: 2, bold: 1 } as const;

/** Painters for one stream; without colour they give the text back. */
export function painter(
  stream: { isTTY?: boolean },
  env: NodeJS.ProcessEnv = process.env,
): (colour: keyof typeof CODES, text: string) => string {
  const on = hasColour(stream, env);
  return (colour, text) => (on ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text);
}

export const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** Columns of a help: those of the terminal, as far as lines are still read easily. */
export const helpWidth = (): number => Math.min(120, process.stdout.columns ?? 80);

/** One line of data. */
export const put = (text: string): void => void process.stdout.write(`${text}\n`);
export const putJson = (value: unknown): void => put(JSON.stringify(value));
