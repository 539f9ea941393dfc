import { UserError } from "@spo/torch/files";

/** How many places of one kind of fault are named. */
const PLACES = 3;

/** Letters of one fault: a value out of a file may have any number. */
const MOST_LETTERS = 500;

/** Collects faults of a data set, to tell all of them at once: each kind once, with the first places and the number of the others. */
export class FaultList {
  readonly #limit: number;
  readonly #isGrouped: boolean;
  readonly #kinds = new Map<string, { fault: string; places: string[]; count: number }>();
  readonly #tags = new Set<string>();
  #count = 0;
  /** Faults of kinds that are beyond the limit. */
  #untold = 0;

  /** isGrouped: faults of one kind are one line. */
  constructor(limit = 50, { isGrouped = true } = {}) {
    this.#limit = limit;
    this.#isGrouped = isGrouped;
  }

  get count(): number {
    return this.#count;
  }

  /** One line a kind of fault. */
  get shown(): string[] {
    const lines = [...this.#kinds.values()].map(({ fault, places, count }) => {
      const more = count - places.length;
      return `${places.join("; ")}${more > 0 ? `; and ${more} more` : ""}: ${fault}`;
    });
    if (this.#untold > 0) lines.push(`and ${this.#untold} more`);
    return lines;
  }

  /** tag: for `has`. Faults that differ in numbers and quoted words are of one kind. */
  add(where: string, told: string, tag?: string): void {
    const fault =
      told.length > MOST_LETTERS
        ? `${told.slice(0, MOST_LETTERS / 2)}…${told.slice(-MOST_LETTERS / 2)}`
        : told;
    this.#count++;
    if (tag !== undefined) this.#tags.add(tag);
    const key = this.#isGrouped ? kindOf(fault) : String(this.#count);
    const known = this.#kinds.get(key);
    if (known) {
      known.count++;
      if (known.places.length < PLACES) known.places.push(where);
    } else if (this.#kinds.size < this.#limit) this.#kinds.set(key, { fault, places: [where], count: 1 });
    else this.#untold++;
  }

  /** Whether a fault was added with this tag. */
  has(tag: string): boolean {
    return this.#tags.has(tag);
  }

  /** Throws a UserError (`DATA`) that lists them, when there are any. */
  throwIfAny(what: string, hint?: string): void {
    if (this.#count === 0) return;
    const lines = this.shown.map((line) => `  ${line}`);
    throw new UserError(
      `${what}: ${this.#count === 1 ? "1 fault" : `${this.#count} faults`}.\n${lines.join("\n")}`,
      { code: "DATA", hint },
    );
  }
}

/** A fault without the numbers, quoted words and paths by which it differs from others of its kind. */
const kindOf = (fault: string): string =>
  fault.replace(/"(?:[^"\\]|\\.)*"?|\S*[/\\]\S*|NaN|\d+(?:\.\d+)?/g, "#");
