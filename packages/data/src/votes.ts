// Votes on pairs, one a line, and the labels that they give.

import { schemaFaults, Vote } from "@spo/records";
import { writeFileAtomic } from "@spo/torch/files";
import { parseBoundedJson, readText } from "@spo/torch/text-files";
import { z } from "zod";
import { FaultList } from "./fault-list.js";
import { hashOfImage } from "./image-bytes.js";
import type { PairSource, PreferencePair } from "./preference.js";

/** Reads a votes file. A half line at the end (a killed writer) is passed over. Throws a UserError (`DATA`) that lists all faults. */
export function readVotes(path: string): Vote[] {
  const text = readText(path, "votes file");
  const faults = new FaultList();
  const votes = text
    .split("\n")
    .slice(0, -1)
    .flatMap((line, i): Vote[] => {
      if (line.trim() === "") return [];
      try {
        return [Vote.parse(parseBoundedJson(line))];
      } catch (error) {
        const why = error instanceof z.ZodError ? schemaFaults(error) : (error as Error).message;
        faults.add(`${path}, line ${i + 1}`, why);
        return [];
      }
    });
  faults.throwIfAny(path);
  return votes;
}

/** The same for both orders of the images. */
const keyOf = (prompt: string, hash0: string, hash1: string): { key: string; swapped: boolean } => {
  const swapped = hash0 > hash1;
  return { key: JSON.stringify([prompt, swapped ? hash1 : hash0, swapped ? hash0 : hash1]), swapped };
};

/** Votes gathered by pair: the mean of what its labellers said last. */
export class Ballot {
  readonly #opinions = new Map<string, Map<string, number | null>>();

  constructor(votes: Iterable<Vote>) {
    const seen = new Set<string>();
    for (const { id, prompt, image_0, image_1, preference, labeller } of votes) {
      if (seen.has(id)) continue;
      seen.add(id);
      const { key, swapped } = keyOf(prompt, image_0, image_1);
      const opinions = this.#opinions.get(key) ?? new Map<string, number | null>();
      opinions.set(labeller, preference === null || !swapped ? preference : 1 - preference);
      this.#opinions.set(key, opinions);
    }
  }

  /** Pairs that somebody voted on. */
  get size(): number {
    return this.#opinions.size;
  }

  /** The mean preference for image 0; undefined where nobody has an opinion. */
  label0(prompt: string, hash0: string, hash1: string): number | undefined {
    const { key, swapped } = keyOf(prompt, hash0, hash1);
    const opinions = [...(this.#opinions.get(key)?.values() ?? [])].filter((value) => value !== null);
    if (opinions.length === 0) return undefined;
    const mean = opinions.reduce((a, b) => a + b, 0) / opinions.length;
    return swapped ? 1 - mean : mean;
  }
}

/** A pair with the labels of a ballot; unjudged where the ballot has nothing on it. `hashes`: of its two images. */
export function withVotes(
  pair: PreferencePair,
  [hash0, hash1]: readonly [string, string],
  ballot: Ballot,
): PreferencePair {
  const label0 = ballot.label0(pair.prompt, hash0, hash1);
  const { faults: _, gaps: __, ...rest } = pair; // of labels that no longer count
  return label0 === undefined
    ? { ...rest, labelled: false, label0: Number.NaN, label1: Number.NaN }
    : { ...rest, labelled: true, label0, label1: 1 - label0 };
}

/** Writes votes, one a line, whole or not at all; gives their number. */
export async function writeVotes(path: string, votes: AsyncIterable<Vote>): Promise<number> {
  const lines: string[] = [];
  for await (const vote of votes) lines.push(`${JSON.stringify(vote)}\n`);
  writeFileAtomic(path, lines.join(""));
  return lines.length;
}

/** One vote for each judged pair of a source, as lines: its labels, to be merged with other people's. */
export async function* votesOf(source: PairSource, labeller: string): AsyncGenerator<Vote> {
  for (const block of source.blocks.keys()) {
    for (const [row, pair] of (await source.pairs(block)).entries()) {
      if (!pair.labelled) continue;
      const [image_0, image_1] = [await hashOfImage(pair.image0), await hashOfImage(pair.image1)];
      yield {
        schema: "spo.vote/1",
        id: `${labeller}/${block}/${row}`,
        prompt: pair.prompt,
        image_0,
        image_1,
        preference: pair.label0,
        labeller,
      };
    }
  }
}
