// What does not fit in a file of weights, all at once.
import { UserError } from "@spo/torch";

/** A name in a file or model, and what is wrong with it. */
export type Misfit = readonly [name: string, what: string];

const SHOWN = 40;

/** Throws a UserError (`DATA`) that lists the faults, of which `most` are shown; none: does nothing. headline: one line, without a full stop. */
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
