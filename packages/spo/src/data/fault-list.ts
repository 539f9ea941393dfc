import { UserError } from "@spo/torch/files";

/** Collects faults of a data set, to tell all of them at once. Holds the first ones and counts the rest. */
export class FaultList {
  readonly shown: string[] = [];
  readonly #limit: number;
  #count = 0;

  constructor(limit = 50) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#count;
  }

  add(where: string, fault: string): void {
    this.#count++;
    if (this.shown.length < this.#limit) this.shown.push(`${where}: ${fault}`);
  }

  /** Throws a UserError (`DATA`) that lists them, when there are any. */
  throwIfAny(what: string, hint?: string): void {
    if (this.#count === 0) return;
    const more = this.#count - this.shown.length;
    const lines = this.shown.map((line) => `  ${line}`);
    if (more > 0) lines.push(`  and ${more} more`);
    throw new UserError(
      `${what}: ${this.#count === 1 ? "1 fault" : `${this.#count} faults`}.\n${lines.join("\n")}`,
      { code: "DATA", hint },
    );
  }
}
