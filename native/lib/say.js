// @ts-check
// Words for people, on stderr. On a terminal a running task rewrites its line; elsewhere it prints its first and its last.

const terminal = process.stderr.isTTY === true;

/** @param {string} text */
export function say(text) {
  process.stderr.write(`${text}\n`);
}

/**
 * A task that takes a while.
 *
 * @param {string} title
 * @returns {{ update: (detail?: string, fraction?: number) => void, done: (detail?: string) => void }} `fraction` in [0, 1] draws a bar
 */
export function task(title) {
  const start = Date.now();
  const seconds = () => Math.round((Date.now() - start) / 1000);
  if (!terminal) say(`${title} …`);
  return {
    update(detail = "", fraction) {
      if (!terminal) return;
      const bar =
        fraction === undefined ? "" : `${barOf(fraction)} ${`${Math.round(100 * fraction)}`.padStart(3)} %  `;
      process.stderr.write(`\r\x1b[2K${title}  ${bar}${seconds()} s${detail ? `, ${detail}` : ""}`);
    },
    done(detail = "") {
      process.stderr.write(
        `${terminal ? "\r\x1b[2K" : ""}${title}: ${detail ? `${detail}, ` : ""}${seconds()} s\n`,
      );
    },
  };
}

/** @param {number} fraction */
function barOf(fraction, width = 24) {
  const full = Math.round(width * Math.min(1, Math.max(0, fraction)));
  return "█".repeat(full) + "░".repeat(width - full);
}
