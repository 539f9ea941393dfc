// Folders of images with a list of pairs, or with the pairs in the images' names.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  makeFolder,
  placeFolder,
  removeLeftovers,
  temporaryOf,
  UserError,
  writeFileAtomic,
} from "@spo/torch/files";
import { FaultList } from "../fault-list.js";
import { bytesOfImage, endingOf } from "../image-bytes.js";
import type { Layout, PairFacts, PreferencePair } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { csvLine } from "./csv.js";
import { gapCells, gapColumn } from "./gap-columns.js";

/** The layouts that are a folder of images with a list. */
export type FolderLayout = Exclude<Layout, "parquet">;

/**
 * Writes pairs as a folder that `openPairs` reads, whole or not at all. `jsonl`, `csv` and `hpd` keep everything that a pair says.
 *
 * gapScorers: whose gaps are written. `kohya` has only winners and losers: an unjudged pair, a tie or a soft label is a fault, unless
 * `harden`, which leaves out the first two and takes the larger label for the winner. Throws a UserError (`DATA`) that lists the faults.
 */
export async function writeFolderPairs(
  layout: FolderLayout,
  folder: string,
  pairs: AsyncIterable<PreferencePair>,
  { harden = false, gapScorers = [] }: { harden?: boolean; gapScorers?: readonly string[] } = {},
): Promise<number> {
  refuseOther(layout, folder);
  const temporary = temporaryOf(folder);
  removeLeftovers(folder);
  const faults = new FaultList();
  try {
    makeFolder(temporary);
    const count = await (layout === "kohya"
      ? writeNamed(temporary, folder, pairs, harden, faults)
      : writeListed(layout, temporary, pairs, gapScorers, faults));
    faults.throwIfAny(folder);
    placeFolder(temporary, folder);
    return count;
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** A folder with such pairs may be what an earlier call has written before it was ended; then it is compared at the end. */
function refuseOther(layout: FolderLayout, folder: string): void {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const isOurs =
    layout === "kohya" ? names.some((name) => name.endsWith("_w.txt")) : names.includes(listName(layout));
  if (names.length > 0 && !isOurs)
    throw new UserError(`${folder} is not empty.`, { code: "DATA", hint: "Give another folder." });
}

const listName = (layout: Exclude<FolderLayout, "kohya">): string =>
  layout === "hpd" ? "pairs.json" : `pairs.${layout}`;

const numbered = (index: number): string => String(index).padStart(7, "0");

async function writeImage(
  stem: string,
  image: PreferencePair["image0"],
  where: string,
  faults: FaultList,
): Promise<string> {
  const bytes = bytesOfImage(image);
  const ending = endingOf(bytes);
  if (!ending) faults.add(where, "its images are no JPEG, PNG or WebP");
  writeFileAtomic(`${stem}${ending ?? ""}`, bytes);
  return ending ?? "";
}

async function writeListed(
  layout: Exclude<FolderLayout, "kohya">,
  folder: string,
  pairs: AsyncIterable<PreferencePair>,
  gapScorers: readonly string[],
  faults: FaultList,
): Promise<number> {
  makeFolder(join(folder, "images"));
  const lines: string[] = layout === "csv" ? [csvLine([...CSV_COLUMNS, ...gapScorers.map(gapColumn)])] : [];
  let count = 0;
  for await (const { image0, image1, ...facts } of pairs) {
    const images: string[] = [];
    for (const [which, image] of [image0, image1].entries()) {
      const name = `images/${numbered(count)}_${which}`;
      images.push(name + (await writeImage(join(folder, name), image, `pair ${count}`, faults)));
    }
    lines.push(lineOf(layout, facts, images as [string, string], gapScorers));
    count++;
  }
  const text = layout === "hpd" ? `[\n${lines.join(",\n")}\n]\n` : lines.map((line) => `${line}\n`).join("");
  writeFileAtomic(join(folder, listName(layout)), text);
  return count;
}

const CSV_COLUMNS = [
  "prompt",
  "image_0",
  "image_1",
  "label_0",
  "label_1",
  "num_example_per_prompt",
  "has_label",
  "are_different",
  "split",
  "kind",
  "model_0",
  "model_1",
  "seed_0",
  "seed_1",
];

function lineOf(
  layout: "jsonl" | "csv" | "hpd",
  facts: PairFacts,
  images: [string, string],
  gapScorers: readonly string[],
): string {
  const labels = facts.labelled ? [facts.label0, facts.label1] : undefined;
  const rest = {
    num_example_per_prompt: facts.examples,
    has_label: facts.labelled,
    are_different: facts.different,
    split: facts.split,
    kind: facts.kind,
    model_0: facts.model0,
    model_1: facts.model1,
    seed_0: facts.seed0,
    seed_1: facts.seed1,
    ...gapCells(facts, gapScorers),
  };
  switch (layout) {
    case "hpd":
      return JSON.stringify({ prompt: facts.prompt, image_path: images, human_preference: labels, ...rest });
    case "jsonl":
      return JSON.stringify({
        prompt: facts.prompt,
        image_0: images[0],
        image_1: images[1],
        label_0: labels?.[0],
        label_1: labels?.[1],
        ...rest,
      });
    case "csv":
      return csvLine(
        [facts.prompt, ...images, labels?.[0], labels?.[1], ...Object.values(rest)].map((cell) =>
          cell === undefined ? "" : String(cell),
        ),
      );
  }
}

async function writeNamed(
  folder: string,
  finalFolder: string,
  pairs: AsyncIterable<PreferencePair>,
  harden: boolean,
  faults: FaultList,
): Promise<number> {
  let index = -1;
  let count = 0;
  for await (const pair of pairs) {
    index++;
    const { label0, label1, labelled, prompt, split } = pair;
    const where = `pair ${index}`;
    if (!labelled || label0 === label1) {
      if (!harden) faults.add(where, labelled ? "a tie has no winner" : "nobody has judged it");
      continue;
    }
    if (!harden && label0 !== 0 && label0 !== 1) {
      faults.add(where, `its labels ${label0} and ${label1} are no win and loss`);
      continue;
    }
    const at = splitOfPath(join(finalFolder, "x")) === split ? folder : join(folder, split);
    if (splitOfPath(join(at === folder ? finalFolder : at, "x")) !== split)
      faults.add(where, `the split ${split} cannot be told from a folder's name`);
    makeFolder(at);
    const stem = join(at, numbered(count++));
    const [win, lose] = label0 > label1 ? [pair.image0, pair.image1] : [pair.image1, pair.image0];
    await writeImage(`${stem}_w`, win, where, faults);
    await writeImage(`${stem}_l`, lose, where, faults);
    writeFileAtomic(`${stem}_w.txt`, `${prompt}\n`);
    writeFileAtomic(`${stem}_l.txt`, `${prompt}\n`);
  }
  return count;
}
