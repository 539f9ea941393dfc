// @ts-check
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** One side of a benchmark: a process that answers each line of JSON by another, and is idle in between. */
export class Side {
  /** What it said of itself. @type {any} */
  ready;
  #process;
  #lines;
  #name;
  #errors = "";

  /** @param {string} name @param {string} command @param {string[]} args @param {number} threads */
  constructor(name, command, args, threads) {
    this.#name = name;
    this.#process = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, OMP_NUM_THREADS: `${threads}`, PYTHONDONTWRITEBYTECODE: "1" },
    });
    this.#process.stderr.on("data", (data) => {
      this.#errors = (this.#errors + data).slice(-4000);
    });
    // A dead side is found by the missing answer.
    this.#process.stdin.on("error", () => {});
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** @param {string} name @param {string} command @param {string[]} args @param {number} threads */
  static async start(name, command, args, threads) {
    const side = new Side(name, command, args, threads);
    side.ready = await side.#answer();
    return side;
  }

  /** @param {unknown} message @returns {Promise<any>} */
  ask(message) {
    this.#process.stdin.write(`${JSON.stringify(message)}\n`);
    return this.#answer();
  }

  async stop() {
    this.#process.stdin.end();
    if (this.#process.exitCode === null)
      await new Promise((resolve) => this.#process.once("exit", () => resolve(undefined)));
  }

  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`The process of ${this.#name} ended.\n${this.#errors}`);
    return JSON.parse(value);
  }
}
