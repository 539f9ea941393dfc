// Which pairs stay by how much better scorers find the preferred image. Multi-preference consistent filtering, of latent preference
// optimisation: labels of people where scorers do not contradict them.
import { UserError } from "@spo/torch/files";
import { FaultList } from "./fault-list.js";
import { isTie, type PairFacts, type PairSource } from "./preference.js";

/** What a scorer's gap must meet. */
export interface GapCondition {
  scorer: string;
  relation: ">" | ">=" | "<" | "<=";
  bound: number;
}

/** Which pairs stay: every condition must hold. Without any condition all judged pairs stay. */
export interface GapFilter {
  /** Of pairs with a preferred image, for its score less the other's. */
  require?: readonly GapCondition[];
  /** Of ties, for the size of the difference. Without one, ties are left out where `require` asks anything. */
  ties?: readonly GapCondition[];
}

/** What a filter did. Counts are of judged pairs. */
export interface GapSummary {
  pairs: number;
  wins: { before: number; kept: number };
  ties: { before: number; kept: number };
  /** Of each condition, pairs that fail it, and those that fail it alone. */
  conditions: { condition: string; failed: number; alone: number }[];
  /** Of pairs with a preferred image: by each scorer, how many it scores higher than the other, lower, and alike. */
  scorers: { scorer: string; agree: number; oppose: number; equal: number }[];
  /** Of each two scorers: pairs of which they prefer different images, and pairs of which both prefer one. */
  disagreements: { scorers: [string, string]; pairs: number; of: number }[];
}

/** Reads `clip>0` or `aesthetic>=-0.5`. Throws a UserError (`USAGE`). */
export function parseGapCondition(text: string): GapCondition {
  const [, scorer, relation, number] = /^\s*([^<>=]*[^<>=\s])\s*(>=?|<=?)\s*(\S+)\s*$/.exec(text) ?? [];
  const bound = Number(number);
  if (scorer !== undefined && number !== undefined && Number.isFinite(bound))
    return { scorer, relation: relation as GapCondition["relation"], bound };
  throw new UserError(`The condition ${JSON.stringify(text)} is none.`, {
    code: "USAGE",
    hint: "Write a scorer's name, >, >=, < or <=, and a number, in quotes for the shell: 'clip>0'.",
  });
}

const textOf = ({ scorer, relation, bound }: GapCondition): string => `${scorer}${relation}${bound}`;

/** Whether a gap meets a condition. A gap that is not there meets none. */
export function meets(gap: number, { relation, bound }: Omit<GapCondition, "scorer">): boolean {
  switch (relation) {
    case ">":
      return gap > bound;
    case ">=":
      return gap >= bound;
    case "<":
      return gap < bound;
    case "<=":
      return gap <= bound;
  }
}

/**
 * Throws a UserError (`USAGE`) for conditions that no gap meets, for those of ties that set no upper bound, and for scorers without gaps.
 *
 * known: scorers whose gaps the pairs have.
 */
export function checkGapFilter({ require = [], ties = [] }: GapFilter, known: readonly string[]): void {
  const bad = (what: string, hint: string): UserError => new UserError(what, { code: "USAGE", hint });
  for (const condition of [...require, ...ties]) {
    if (!known.includes(condition.scorer))
      throw bad(
        `${textOf(condition)}: nothing gives gaps by ${condition.scorer}.`,
        `${known.length > 0 ? `There are gaps by ${known.join(", ")}.` : "The set has none."} Name its scorer with --by, as --by clip:FOLDER.`,
      );
    if (ties.includes(condition) && !(condition.relation.startsWith("<") && condition.bound > 0))
      throw bad(
        `--ties ${textOf(condition)} bounds no size of a gap.`,
        "Ties are pairs whose two images score nearly alike: write 'clip<0.03'.",
      );
  }
  for (const scorer of new Set(require.map((condition) => condition.scorer))) {
    const of = require.filter((condition) => condition.scorer === scorer);
    for (const lower of of.filter(({ relation }) => relation.startsWith(">")))
      for (const upper of of.filter(({ relation }) => relation.startsWith("<")))
        if (!meets(lower.bound, upper) || (lower.bound === upper.bound && lower.relation !== ">="))
          throw bad(`No gap meets both ${textOf(lower)} and ${textOf(upper)}.`, "Leave one of them out.");
  }
}

/**
 * The pairs of a source that a filter keeps. Reads the facts of all pairs, no images.
 *
 * skipBroken: pairs that lack a gap which a condition asks for are left out. Throws UserErrors: `USAGE` as `checkGapFilter`, `DATA` for
 * pairs that lack such a gap, and where no pair is left.
 */
export async function filterByGaps(
  source: PairSource,
  filter: GapFilter,
  { skipBroken = false } = {},
): Promise<{ filtered: PairSource; summary: GapSummary }> {
  const scorers = source.gapScorers ?? [];
  checkGapFilter(filter, scorers);
  const count = new Count(filter, scorers);
  const faults = new FaultList();
  const kept: number[][] = [];
  for (const block of source.blocks.keys()) {
    const rows: number[] = [];
    for (const [row, facts] of (await source.facts(block)).entries()) {
      if (!facts.labelled) continue;
      const lacking = conditionsFor(facts, filter).find(({ scorer }) => facts.gaps?.[scorer] === undefined);
      if (lacking) faults.add(source.where(block, row), `it has no gap by ${lacking.scorer}`);
      else if (count.take(facts)) rows.push(row);
    }
    kept.push(rows);
  }
  if (!skipBroken) faults.throwIfAny("Nothing was written", "With --skip-broken these pairs are left out.");
  const summary = count.summary();
  if (summary.wins.kept + summary.ties.kept === 0) throw noneLeft(summary);
  return { filtered: selected(source, kept), summary };
}

const conditionsFor = (facts: PairFacts, { require = [], ties = [] }: GapFilter): readonly GapCondition[] =>
  isTie(facts) ? ties : require;

/** Counts judged pairs as they are kept or left out. */
class Count {
  readonly #filter: GapFilter;
  readonly #scorers: readonly string[];
  readonly #wins = { before: 0, kept: 0 };
  readonly #ties = { before: 0, kept: 0 };
  readonly #failed = new Map<GapCondition, { failed: number; alone: number }>();
  readonly #signs = new Map<string, { agree: number; oppose: number; equal: number }>();
  readonly #disagreements = new Map<string, { pairs: number; of: number }>();

  constructor(filter: GapFilter, scorers: readonly string[]) {
    this.#filter = filter;
    this.#scorers = scorers;
  }

  /** Whether the pair is kept. */
  take(facts: PairFacts): boolean {
    const tie = isTie(facts);
    const asked = conditionsFor(facts, this.#filter);
    const gapOf = (scorer: string): number => facts.gaps?.[scorer] ?? Number.NaN;
    const failed = asked.filter((condition) => {
      const gap = gapOf(condition.scorer);
      return !meets(tie ? Math.abs(gap) : gap, condition);
    });
    for (const condition of failed) {
      const of = entryOf(this.#failed, condition, () => ({ failed: 0, alone: 0 }));
      of.failed++;
      if (failed.length === 1) of.alone++;
    }
    const isKept =
      failed.length === 0 && !(tie && asked.length === 0 && (this.#filter.require ?? []).length > 0);
    const kind = tie ? this.#ties : this.#wins;
    kind.before++;
    if (isKept) kind.kept++;
    if (!tie) this.#compare(gapOf);
    return isKept;
  }

  #compare(gapOf: (scorer: string) => number): void {
    for (const [i, scorer] of this.#scorers.entries()) {
      const sign = Math.sign(gapOf(scorer));
      if (Number.isNaN(sign)) continue;
      const signs = entryOf(this.#signs, scorer, () => ({ agree: 0, oppose: 0, equal: 0 }));
      signs[sign > 0 ? "agree" : sign < 0 ? "oppose" : "equal"]++;
      for (const other of this.#scorers.slice(i + 1)) {
        const product = sign * Math.sign(gapOf(other));
        if (product === 0 || Number.isNaN(product)) continue;
        const pairs = entryOf(this.#disagreements, JSON.stringify([scorer, other]), () => ({
          pairs: 0,
          of: 0,
        }));
        pairs.of++;
        if (product < 0) pairs.pairs++;
      }
    }
  }

  summary(): GapSummary {
    const { require = [], ties = [] } = this.#filter;
    const told = (condition: GapCondition, text: string) => ({
      condition: text,
      ...(this.#failed.get(condition) ?? { failed: 0, alone: 0 }),
    });
    return {
      pairs: this.#wins.before + this.#ties.before,
      wins: this.#wins,
      ties: this.#ties,
      conditions: [
        ...require.map((condition) => told(condition, textOf(condition))),
        ...ties.map((condition) => told(condition, `of ties ${textOf(condition)}`)),
      ],
      scorers: [...this.#signs].map(([scorer, signs]) => ({ scorer, ...signs })),
      disagreements: [...this.#disagreements].map(([key, found]) => ({ scorers: JSON.parse(key), ...found })),
    };
  }
}

function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}

/** Whether a scorer prefers the other image more often than chance has it, by three standard deviations: lower may be better with it. */
export const isTurned = ({ agree, oppose }: { agree: number; oppose: number }): boolean =>
  oppose - agree > 3 * Math.sqrt(agree + oppose);

/** The two scorers that prefer different images most often, in words. */
export function disagreementText({ disagreements }: GapSummary): string | undefined {
  const [most] = [...disagreements].sort((a, b) => b.pairs / b.of - a.pairs / a.of);
  if (most === undefined || most.pairs === 0) return undefined;
  const share = ((100 * most.pairs) / most.of).toFixed(1);
  return `${most.scorers.join(" and ")} prefer different images in ${share} % of ${most.of} pairs`;
}

function noneLeft(summary: GapSummary): UserError {
  const { pairs, conditions, scorers } = summary;
  const failed = conditions.map(({ condition, failed: of }) => `${of} fail ${condition}`).join(", ");
  const turned = scorers.find(isTurned);
  const hint = turned
    ? `${turned.scorer} scores the preferred image lower in ${turned.oppose} of ${turned.agree + turned.oppose + turned.equal} pairs: with a scorer, higher must be better.`
    : disagreementText(summary);
  return new UserError(
    `Of ${pairs} judged pairs none is left${failed ? `: ${failed}` : ""}. Nothing was written.`,
    {
      code: "DATA",
      hint: hint && `${hint.charAt(0).toUpperCase()}${hint.slice(1)}${hint.endsWith(".") ? "" : "."}`,
    },
  );
}

/** The given rows of each block. */
function selected(source: PairSource, rows: readonly (readonly number[])[]): PairSource {
  const pick = <T>(block: number, all: readonly T[]): T[] => (rows[block] ?? []).map((row) => all[row] as T);
  return {
    layout: source.layout,
    gapScorers: source.gapScorers,
    blocks: source.blocks.map(({ bytes, rows: all }, block) => {
      const left = rows[block]?.length ?? 0;
      return { rows: left, bytes: Math.ceil((bytes * left) / Math.max(1, all)) };
    }),
    where: (block, row) => source.where(block, rows[block]?.[row] ?? 0),
    facts: async (block) => pick(block, await source.facts(block)),
    pairs: async (block) => (rows[block]?.length ? pick(block, await source.pairs(block)) : []),
    close: () => source.close(),
  };
}
