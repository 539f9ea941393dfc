// @ts-check
// Text between markers in a Markdown file.

/**
 * The text with what stands between `<!-- NAME:begin … -->` and `<!-- NAME:end -->` replaced.
 *
 * Throws an Error when the markers are not there, or stand twice.
 *
 * @param {string} text @param {string} name @param {string} table
 * @returns {string}
 */
export function withTable(text, name, table) {
  const parts = text.split(new RegExp(`(<!-- ${name}:begin[^>]*-->|<!-- ${name}:end -->)`));
  if (parts.length !== 5 || !parts[1]?.includes(":begin") || !parts[3]?.includes(":end"))
    throw new Error(`The document needs the markers ${name}:begin and ${name}:end, once and in this order`);
  return [parts[0], parts[1], `\n${table}\n`, parts[3], parts[4]].join("");
}

/**
 * A table in Markdown; the first column is words, the others are numbers.
 *
 * @param {readonly string[]} head @param {readonly (readonly string[])[]} rows
 * @returns {string}
 */
export function markdownTable(head, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}
