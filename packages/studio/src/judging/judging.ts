// Which pair a person is shown next, on which side each image stands, and what becomes of the answer.
import { createHash } from "node:crypto";
import { type Answer, UserError, type Vote, type VoteLog } from "@spo/records";
import { imageOfPair, type PairsToJudge, type PairToJudge } from "./pairs-to-judge.js";

/** How pairs are given out. */
export interface JudgingSettings {
  /** Votes that a pair is to get, by different people. */
  votesPerPair: number;
  /** Share of the judged pairs that are shown once more, sides swapped. */
  repeatShare: number;
  /** Share of pairs that everybody should answer alike, while there are such. */
  goldShare: number;
}

/** So many pairs lie between a pair and its repeat. */
const REPEAT_AFTER = 10;
/** Nobody sees two images sooner. */
const HASTY_SECONDS = 0.3;

/** A pair as it is to be shown. */
export interface ShownPair {
  pair: PairToJudge;
  /** Which image stands left. */
  left: 0 | 1;
  /** The same person saw it before, the other way round. */
  repeat: boolean;
}

/** An answer as it comes from the page. */
export interface Ballot {
  /** Made by the page: sent again, it is the same vote. */
  id: string;
  pair: string;
  labeller: string;
  answer: Answer;
  seconds: number;
  repeat: boolean;
}

/** The judging of some pairs by some people. */
export class Judging {
  readonly #log: VoteLog;
  readonly #settings: JudgingSettings;
  readonly #hashes = new Map<string, [string, string]>();
  readonly #standing = new StandingVotes();

  constructor(log: VoteLog, settings: JudgingSettings) {
    this.#log = log;
    this.#settings = settings;
    for (const vote of log.votes) this.#standing.add(vote);
  }

  get votes(): readonly Vote[] {
    return this.#log.votes;
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  /**
   * The next pairs for a person: those that have too few votes, the fewest first, in an order of the person's own. A repeat and a pair of
   * gold stand before them when one is due.
   *
   * except: pairs that the page has already.
   */
  next(
    { pairs }: PairsToJudge,
    { labeller, except, count }: { labeller: string; except: readonly string[]; count: number },
  ): ShownPair[] {
    const mine = new Map<string, AskedVote>();
    const others = new Map<string, number>();
    for (const vote of this.#standing.all) {
      const { pair, answer } = vote.asked;
      if (vote.labeller === labeller) mine.set(pair, vote);
      else if (answer !== "skip") others.set(pair, (others.get(pair) ?? 0) + 1);
    }
    const wanted = this.#settings.votesPerPair;
    const isNew = ({ id, open = true }: PairToJudge): boolean =>
      open && !mine.has(id) && !except.includes(id);
    const inOrder = (some: readonly PairToJudge[]): PairToJudge[] =>
      some
        .map((pair) => ({ pair, votes: others.get(pair.id) ?? 0, order: digest(labeller, pair.id, "order") }))
        .sort((a, b) => b.votes - a.votes || (a.order < b.order ? -1 : 1))
        .map(({ pair }) => pair);
    const open = inOrder(
      pairs.filter((pair) => pair.gold === undefined && isNew(pair) && (others.get(pair.id) ?? 0) < wanted),
    ).map((pair) => shown(pair, labeller, false));
    const repeat = this.#repeatFor(pairs, labeller, mine, except);
    const gold = this.#isGoldDue(pairs, mine, except)
      ? inOrder(pairs.filter((pair) => pair.gold !== undefined && isNew(pair))).slice(0, 1)
      : [];
    const extra = [...(repeat ? [repeat] : []), ...gold.map((pair) => shown(pair, labeller, false))];
    return [...extra, ...open].slice(0, count);
  }

  #isGoldDue(
    pairs: readonly PairToJudge[],
    mine: ReadonlyMap<string, Vote>,
    except: readonly string[],
  ): boolean {
    const gold = pairs.filter((pair) => pair.gold !== undefined);
    if (gold.some(({ id }) => except.includes(id))) return false;
    const answered = gold.filter(({ id }) => mine.has(id)).length;
    return (mine.size + 1) * this.#settings.goldShare >= answered + 1;
  }

  #repeatFor(
    pairs: readonly PairToJudge[],
    labeller: string,
    mine: ReadonlyMap<string, AskedVote>,
    except: readonly string[],
  ): ShownPair | undefined {
    const judged = [...mine.values()].filter(({ asked }) => asked.answer !== "skip");
    const repeats = this.#log.votes.filter((vote) => vote.labeller === labeller && vote.asked?.repeat).length;
    if (judged.length * this.#settings.repeatShare < repeats + 1) return undefined;
    const known = judged
      .slice(0, -REPEAT_AFTER)
      .filter(({ asked }) => !asked.repeat && !except.includes(asked.pair));
    const [chosen] = known.sort((a, b) =>
      digest(labeller, a.id, "again") < digest(labeller, b.id, "again") ? -1 : 1,
    );
    const pair = pairs.find(({ id }) => id === chosen?.asked.pair);
    return pair && shown(pair, labeller, true);
  }

  /** Keeps an answer; resolves when it is on the disk. Throws a UserError for a pair that there is not, or where it cannot be kept. */
  async vote(
    set: PairsToJudge,
    { id, pair: pairId, labeller, answer, seconds, repeat }: Ballot,
    at = new Date(),
  ): Promise<void> {
    const pair = set.pairs.find((each) => each.id === pairId);
    if (!pair)
      throw new UserError("There is no such pair any more.", { code: "DATA", hint: "Load the page again." });
    const { left } = shown(pair, labeller, repeat);
    const [image_0, image_1] = this.#hashesOf(set, pair);
    const isKnown = this.#log.has(id);
    const vote: Vote = {
      schema: "spo.vote/1",
      id,
      prompt: pair.prompt,
      image_0,
      image_1,
      preference: preferenceOf(answer, left),
      labeller,
      at: at.toISOString(),
      asked: { pair: pairId, left, answer, seconds, hasty: seconds < HASTY_SECONDS, repeat },
    };
    await this.#log.append(vote);
    if (!isKnown) this.#standing.add(vote);
  }

  /** How many pairs a person has answered. */
  answeredBy(labeller: string): number {
    return this.#standing.all.filter((vote) => vote.labeller === labeller).length;
  }

  #hashesOf(set: PairsToJudge, pair: PairToJudge): [string, string] {
    const known = this.#hashes.get(pair.id);
    if (known) return known;
    const hash = (which: 0 | 1): string =>
      createHash("sha256")
        .update(imageOfPair(set, pair, which))
        .digest("hex");
    const hashes: [string, string] = [hash(0), hash(1)];
    this.#hashes.set(pair.id, hashes);
    return hashes;
  }
}

/** A vote of a person who was shown the pair. */
export type AskedVote = Vote & { asked: NonNullable<Vote["asked"]> };

/** The votes that count: of each person the newest on a pair, none that was taken back. */
export class StandingVotes {
  readonly #newest = new Map<string, AskedVote>();

  constructor(votes: readonly Vote[] = []) {
    for (const vote of votes) this.add(vote);
  }

  add(vote: Vote): void {
    if (!vote.asked) return;
    const key = JSON.stringify([vote.labeller, vote.asked.pair]);
    this.#newest.delete(key);
    if (vote.asked.answer !== "undo") this.#newest.set(key, vote as AskedVote);
  }

  /** In the order of their coming. */
  get all(): AskedVote[] {
    return [...this.#newest.values()];
  }
}

/** On which side the images stand: drawn by person and pair, so that it is the same after a restart; the other way round in a repeat. */
export function shown(pair: PairToJudge, labeller: string, repeat: boolean): ShownPair {
  const side = Number.parseInt(digest(labeller, pair.id, "side").slice(0, 2), 16) & 1;
  return { pair, repeat, left: (repeat ? 1 - side : side) as 0 | 1 };
}

/** The share of image 0 in an answer; null where it says nothing of the two. */
export function preferenceOf(answer: Answer, left: 0 | 1): number | null {
  switch (answer) {
    case "left":
      return 1 - left;
    case "right":
      return left;
    case "tie":
      return 0.5;
    case "both bad":
    case "skip":
    case "undo":
      return null;
  }
}

const digest = (...words: readonly string[]): string =>
  createHash("sha256").update(JSON.stringify(words)).digest("hex");
