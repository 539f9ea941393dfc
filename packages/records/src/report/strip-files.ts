// The candidates of some rounds, which a training keeps as images for people to look at.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { readRecord } from "../index.js";
import type { Strip } from "./data.js";

/** One file, of one round: all comparisons of the prompts that are shown. */
export const StripFile = z.array(
  z
    .object({
      prompt: z.string(),
      comparison: z.number(),
      timestep: z.number(),
      /** Null where it was not finite. */
      scores: z.array(z.number().nullable()),
      win: z.number(),
      lose: z.number(),
      valid: z.boolean(),
      next: z.number().optional(),
      /** p_best − p_worst; null where a score was not finite, absent in files of earlier versions. */
      margin: z.number().nullable().optional(),
      /** PNGs in base64; none where a picture would not be finite. */
      images: z.array(z.string()),
    })
    .refine(
      ({ scores, images }) => images.length === 0 || scores.length === images.length,
      "it has not as many scores as images",
    ),
);
/** What a strip file holds. */
export type StripFile = z.output<typeof StripFile>;

/** Steps of a strip that are shown: more would say the same again. */
const ROWS = 5;

/** Name of the file of a round, counted from 0. */
export const stripFileName = (round: number): string => `round-${String(round).padStart(6, "0")}.json`;

/** The rounds of which a run kept candidates, in order. */
export function stripRounds(folder: string): { round: number; file: string }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((name) => {
      const [, round] = /^round-(\d+)\.json$/.exec(name) ?? [];
      return round === undefined ? [] : [{ round: Number(round), file: join(folder, name) }];
    })
    .sort((a, b) => a.round - b.round);
}

/** Reads a strip file of a run. Throws a UserError (`DATA`) for one that is damaged. */
export const readStripFile = (file: string): StripFile => readRecord(file, StripFile);

/** Of each prompt a few comparisons that have pictures, from the noisiest to the finished image. */
export function shownStrips(file: StripFile): Strip[] {
  const pictured = file.filter(({ images }) => images.length > 0);
  const prompts = [...new Set(pictured.map(({ prompt }) => prompt))];
  return prompts.map((prompt) => {
    const rows = pictured.filter((row) => row.prompt === prompt);
    const count = Math.min(ROWS, rows.length);
    const shown = Array.from({ length: count }, (_, i) =>
      Math.round((i * (rows.length - 1)) / Math.max(1, count - 1)),
    );
    return {
      prompt,
      rows: shown.map((place) => {
        const { images, comparison: _, prompt: __, scores, ...row } = rows[place] as StripFile[number];
        return {
          ...row,
          scores: scores.map((score) => score ?? Number.NaN),
          images: images.map((image) => new Uint8Array(Buffer.from(image, "base64"))),
        };
      }),
    };
  });
}
