// The candidates of a round from its strip file.
import { realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/records";
import { readStripFile, type StripFile, stripRounds } from "@spo/records/report";
import type { StepRow, StepView } from "../api.js";
import type { FoundRun } from "./find-runs.js";

/** The rounds of which a run kept candidates, in order; none where the folder is a link to elsewhere. */
export function stripRoundsOf(folder: string): { round: number; file: string }[] {
  const strips = join(folder, "strips");
  const inside = (path: string): boolean => {
    try {
      return realpathSync(path).startsWith(`${realpathSync(folder)}/`);
    } catch {
      return false;
    }
  };
  return inside(strips) ? stripRounds(strips).filter(({ file }) => inside(file)) : [];
}

/** Strip files that are kept read: a page asks for each of hundreds of pictures by itself. */
const KEPT = 6;

/** Reads strip files, and keeps the last ones. */
export class StripReader {
  readonly #read = new Map<string, StripFile>();

  /** The strips of a round. Throws a UserError (`DATA`) where the run kept none, or they are damaged. */
  of(folder: string, round: number): StripFile {
    const found = stripRoundsOf(folder).find((each) => each.round === round);
    if (!found) throw new UserError(`Of round ${round + 1} no candidates were kept.`, { code: "DATA" });
    const { mtimeMs, size } = statSync(found.file);
    const key = `${found.file} ${mtimeMs} ${size}`;
    const strips = this.#read.get(key) ?? readStripFile(found.file);
    this.#read.delete(key);
    this.#read.set(key, strips);
    const [oldest] = this.#read.keys();
    if (this.#read.size > KEPT && oldest !== undefined) this.#read.delete(oldest);
    return strips;
  }
}

/** Rows by prompt, from the noisiest timestep to the finished picture. */
export function stepView(
  { id }: FoundRun,
  round: number,
  strips: StripFile,
  config: Readonly<Record<string, unknown>>,
): StepView {
  const threshold = typeof config.threshold === "number" ? config.threshold : undefined;
  const prompts = [...new Set(strips.map(({ prompt }) => prompt))];
  return {
    schema: "spo.studio.steps/1",
    round,
    prompts: prompts.map((prompt) => ({
      prompt,
      rows: strips.flatMap((row, place) =>
        row.prompt === prompt ? [rowOf(id, round, place, row, threshold)] : [],
      ),
    })),
  };
}

function rowOf(
  id: string,
  round: number,
  place: number,
  row: StripFile[number],
  threshold?: number,
): StepRow {
  const { timestep, scores, images, win, lose, next, valid } = row;
  return {
    ...{ timestep, win, lose, next, valid, margin: row.margin },
    candidates: scores.map((score, j) => ({
      score,
      src: images[j] === undefined ? undefined : `/api/runs/${id}/candidates/${round}/${place}/${j}`,
    })),
    threshold,
    why: whyNoPair(row),
  };
}

/** Why a comparison gave no pair; undefined where it did. */
export function whyNoPair({ scores, win, lose, valid }: StripFile[number]): StepRow["why"] {
  if (valid) return undefined;
  if (scores.some((score) => score === null)) return "not finite";
  return scores[win] === scores[lose] ? "tie" : "below the threshold";
}
