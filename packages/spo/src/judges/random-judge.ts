import { type Generator, randn, scope, type Tensor, tensor } from "@spo/torch";
import { type CandidateScorer, JUDGE_CHUNK, type RoundPart, type StepAwareJudge } from "./judge.js";

/** A control: random scores. Images, timesteps and prompts are as with a real judge. */
export class RandomJudge implements StepAwareJudge {
  readonly #generatorAt: (round: number) => Generator;
  #generator: Generator;
  #part: RoundPart | undefined;
  /** Scores of the part's candidates of one comparison that were not asked for yet. */
  #drawn: number[] = [];

  /** generatorAt: what the scores of a round are drawn from. */
  constructor(generatorAt: (round: number) => Generator) {
    this.#generatorAt = generatorAt;
    this.#generator = generatorAt(0);
  }

  beginRound(round: number, part?: RoundPart): void {
    this.#generator = this.#generatorAt(round);
    this.#part = part;
    this.#drawn = [];
  }

  prepare(): CandidateScorer {
    return { score: (_, rows) => this.#scores(rows.length) };
  }

  #scores(count: number): Tensor {
    if (!this.#part) return randn([count], { generator: this.#generator });
    if (this.#drawn.length === 0) this.#drawn = this.#ofPart(this.#part);
    return tensor(this.#drawn.splice(0, count));
  }

  /** Draws for all candidates of the round, as if they were judged together, and gives those of the part. */
  #ofPart({ prompts, candidates, rows }: RoundPart): number[] {
    const all: number[] = [];
    for (const whole = candidates * prompts; all.length < whole; ) {
      const chunk = [Math.min(JUDGE_CHUNK, whole - all.length)];
      all.push(...scope(() => randn(chunk, { generator: this.#generator }).toNumbers()));
    }
    return Array.from({ length: candidates }, (_, j) =>
      rows.map((row) => all[j * prompts + row] as number),
    ).flat();
  }
}
