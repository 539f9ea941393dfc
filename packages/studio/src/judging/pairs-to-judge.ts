// Pairs that people judge: a preference set in a folder, or a run's base beside its newest samples.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileOfRun, readOrdinary, UserError } from "@spo/records";
import { z } from "zod";
import type { FoundRun } from "../runs/find-runs.js";
import type { RunLog } from "../runs/run-log.js";

/** A pair; which image is which no judge is told. */
export interface PairToJudge {
  /** Of the prompt and the files: the same as long as these are. */
  id: string;
  prompt: string;
  /** Of the folder. */
  files: readonly [string, string];
  /** What made the images, where the set says it. */
  models?: readonly [string, string];
  /** The image that everybody should choose: whoever does not, was not looking. */
  gold?: 0 | 1;
  /** Whether an answer is still of use; default yes. */
  open?: boolean;
}

/** Pairs that belong together. */
export interface PairsToJudge {
  title: string;
  folder: string;
  /** The two that are compared, where there are two: image 0 and image 1, unless a pair's `models` say another order. */
  names?: readonly [string, string];
  pairs: readonly PairToJudge[];
}

/** The list of a preference set's folder, as `spo data export --to jsonl` writes it. */
export const PAIR_LIST = "pairs.jsonl";

/** A list is text. */
const MOST_BYTES = 256e6;
const MOST_IMAGE = 64e6;

const Row = z.object({
  prompt: z.string(),
  image_0: z.string(),
  image_1: z.string(),
  are_different: z.boolean().optional(),
  model_0: z.string().optional(),
  model_1: z.string().optional(),
  kind: z.string().optional(),
  label_0: z.number().optional(),
  open: z.boolean().optional(),
});

/** The `kind` of pairs that only tell whether a person looks. */
const GOLD = "gold";

/** The pairs of a set's folder. Throws a UserError (`DATA`) that names the line that is none. */
export function pairsOfSet({ name, folder }: FoundRun): PairsToJudge {
  const path = join(folder, PAIR_LIST);
  const lines = readOrdinary(path, MOST_BYTES).toString("utf8").split("\n");
  const pairs = lines.flatMap((line, i): PairToJudge[] => {
    if (line.trim() === "") return [];
    let row: z.output<typeof Row>;
    try {
      row = Row.parse(JSON.parse(line));
    } catch (error) {
      throw new UserError(`${path}: line ${i + 1} is no pair.`, {
        code: "DATA",
        hint: "`npx spo data export SET --to jsonl -o FOLDER` writes a folder that Studio reads.",
        cause: error,
      });
    }
    if (row.are_different === false) return [];
    const { model_0, model_1, kind, label_0, open } = row;
    const models = model_0 !== undefined && model_1 !== undefined ? ([model_0, model_1] as const) : undefined;
    const gold = kind === GOLD && label_0 !== undefined && label_0 !== 0.5 ? better(label_0) : undefined;
    return [{ ...pairOf(row.prompt, [row.image_0, row.image_1]), models, gold, open }];
  });
  const names = [...new Set(pairs.flatMap(({ models }) => models ?? []))];
  return { title: name, folder, pairs, names: names.length === 2 ? (names as [string, string]) : undefined };
}

const better = (label0: number): 0 | 1 => (label0 > 0.5 ? 0 : 1);

/** The base beside the newest samples of a run; no pairs before it has drawn both. */
export function pairsOfRun({ name, folder }: FoundRun, { contents: { samples } }: RunLog): PairsToJudge {
  const [base, newest] = [samples[0], samples.at(-1)];
  if (!base || !newest || base === newest) return { title: name, folder, pairs: [] };
  const pairs = base.images.flatMap(({ file, prompt, seed }) => {
    const later = newest.images.find((image) => image.prompt === prompt && image.seed === seed);
    return later ? [pairOf(prompt, [file, later.file])] : [];
  });
  return { title: name, folder, names: ["base", `step ${newest.step}`], pairs };
}

function pairOf(prompt: string, files: readonly [string, string]): PairToJudge {
  const id = createHash("sha256")
    .update(JSON.stringify([prompt, ...files]))
    .digest("base64url")
    .slice(0, 16);
  return { id, prompt, files };
}

/** The bytes of an image of a pair. Throws a UserError (`DATA`) where it is not there, or lies outside of the folder. */
export function imageOfPair({ folder }: PairsToJudge, { files }: PairToJudge, which: 0 | 1): Uint8Array {
  const bytes = fileOfRun(folder, files[which], MOST_IMAGE);
  if (!bytes)
    throw new UserError("An image of this pair is not there.", { code: "DATA", hint: "Skip the pair." });
  return bytes;
}
