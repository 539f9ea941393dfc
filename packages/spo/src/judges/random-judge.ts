import { type Generator, randn, type Tensor } from "@spo/torch";
import type { Candidates, StepAwareJudge } from "./judge.js";

/** A control: random scores. Images, timesteps and prompts are as with a real judge. */
export class RandomJudge implements StepAwareJudge<null> {
  readonly #generatorAt: (round: number) => Generator;
  #generator: Generator;

  /** generatorAt: what the scores of a round are drawn from. */
  constructor(generatorAt: (round: number) => Generator) {
    this.#generatorAt = generatorAt;
    this.#generator = generatorAt(0);
  }

  beginRound(round: number): void {
    this.#generator = this.#generatorAt(round);
  }

  prepare(): null {
    return null;
  }

  score(_: Candidates, __: null, rows: readonly number[]): Tensor {
    return randn([rows.length], { generator: this.#generator });
  }
}
