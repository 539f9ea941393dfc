// Reports all entries of a file of weights that do not fit, at once.
import { UserError } from "@spo/torch";

/** A name in a file or model, and what is wrong with it. */
export type Misfit = readonly [name: string, what: string];

const SHOWN = 40;

/** Throws a UserError (`DATA`) that lists the faults, at most `most` of them, if there are any. headline: one line, without a full stop. */
export function refuseMisfits(headline: string, faults: readonly Misfit[], hint: string, most = SHOWN): void {
  if (faults.length === 0) return;
  const shown = faults.slice(0, most);
  const width = Math.max(...shown.map(([name]) => name.length));
  const rest = faults.length > most ? `\n  … and ${faults.length - most} more` : "";
  throw new UserError(
    `${headline}:\n${shown.map(([name, what]) => `  ${name.padEnd(width)}  ${what}`).join("\n")}${rest}`,
    { code: "DATA", hint },
  );
}
