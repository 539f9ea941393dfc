// Writes out what a terminal would act on. Words come from files, prompts, paths and hubs: a caption may hold an escape sequence that
// sets the title, clears the screen or hides what stands before it.

/**
 * Controls (C0 but for the line end and the tab, delete, C1), and the characters that turn, hide or break a line: directions, spaces
 * without width, separators of lines. The joiners stay, which emoji and some scripts are written with.
 */
const ACTED_ON =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A text with everything that a terminal acts on written out, `\x1b` or `\u202e`; line ends and tabs stay. */
export const visible = (text: string): string => text.replace(ACTED_ON, writtenOut);

/** As `visible`, where one line is meant: line ends are written out too. */
export const visibleLine = (text: string): string => visible(text.replaceAll("\n", "\\n"));

/** JSON that means the same, without a character that a terminal acts on. */
export const visibleJson = (json: string): string =>
  json.replace(ACTED_ON, (character) => `\\u${hex(character, 4)}`);

function writtenOut(character: string): string {
  if (character === "\r") return "\\r";
  return character < "\u0100" ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`;
}

const hex = (character: string, digits: number): string =>
  character.charCodeAt(0).toString(16).padStart(digits, "0");
