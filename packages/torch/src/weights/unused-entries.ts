// Entries of a file of weights that nothing here uses: what other tools keep beside a model's own weights.
import { warn } from "../warnings.js";

/** Names that the warning lists; a file may have thousands. */
const SHOWN = 5;

/** Warns once of all entries that are passed over: how many, and the first few by name. None: does nothing. source: the file. */
export function warnOfUnused(source: string, names: readonly string[]): void {
  if (names.length === 0) return;
  const rest = names.length - SHOWN;
  const shown = names.slice(0, SHOWN).join(", ");
  warn(
    `${source}: ${names.length === 1 ? "an entry is" : `${names.length} entries are`} not used and passed over: ${shown}${rest > 0 ? `, and ${rest} more` : ""}.`,
  );
}

/** Whether an entry belongs to quantized weights, which are other numbers without it: it cannot be passed over. */
export const isOfQuantization = (name: string): boolean =>
  /(^|\.)(scale_weight|weight_scale|absmax|quant_map|quant_state(\..+)?|SCB|qweight|qzeros|scales)$/.test(
    name,
  );
