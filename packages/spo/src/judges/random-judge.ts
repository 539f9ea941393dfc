import { type Generator, randn } from "@spo/torch";
import type { CandidateScorer, StepAwareJudge } from "./judge.js";

/** A control: random scores. Images, timesteps and prompts are as with a real judge. */
export class RandomJudge implements StepAwareJudge {
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

  prepare(): CandidateScorer {
    return { score: (_, rows) => randn([rows.length], { generator: this.#generator }) };
  }
}
