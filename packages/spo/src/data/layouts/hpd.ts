// The JSON of HPD v2 and of ImageReward's data: one list of prompts with images that people ranked.
import { dirname, resolve } from "node:path";
import { UserError } from "@spo/torch/files";
import { readJson } from "@spo/torch/text-files";
import { FaultList } from "../fault-list.js";
import type { PairSource } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { type ListedPair, listedSource, pairsOfRecord } from "./listed.js";

/**
 * Each record has a `prompt`, the images under `image_path`, `file_path`, `generations` or `images`, and either `human_preference` (two
 * labels) or `rank` / `ranking` (one an image, smaller is better). Paths are relative to the file's folder.
 *
 * Throws a UserError (`DATA`) that lists every record which is none.
 */
export function openHpd(paths: readonly string[]): PairSource {
  const faults = new FaultList();
  const listed = paths.flatMap((path): ListedPair[] => {
    const split = splitOfPath(path);
    const imagePath = (name: string): string => resolve(dirname(path), name);
    return recordsOf(path).flatMap((record, row) => {
      const where = `${path}, record ${row}`;
      if (typeof record !== "object" || record === null) {
        faults.add(where, "no record");
        return [];
      }
      const fields = record as Record<string, unknown>;
      return pairsOfRecord(
        {
          prompt: fields.prompt,
          images: fields.image_path ?? fields.file_path ?? fields.generations ?? fields.images,
          labels: fields.human_preference,
          ranking: fields.rank ?? fields.ranking,
          bestFirst: false,
          labelled: fields.has_label,
          different: fields.are_different,
          examples: fields.num_example_per_prompt,
          split: fields.split,
          kind: fields.kind,
        },
        { where, split, imagePath, faults },
      );
    });
  });
  faults.throwIfAny(paths.join(", "));
  return listedSource("hpd", listed);
}

function recordsOf(path: string): unknown[] {
  const value = readJson(path);
  if (!Array.isArray(value)) throw new UserError(`${path} holds no list of records.`, { code: "DATA" });
  return value;
}
