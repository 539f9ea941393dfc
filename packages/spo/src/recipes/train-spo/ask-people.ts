// People as the judge of a training: it asks them about pairs of a round, goes on with others, and learns from answers when they come.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import type { Denoiser, NoiseProcess } from "@spo/diffusion";
import { type CheckpointFiles, type Run, readRecord } from "@spo/records";
import { type Device, generatorAt, noGrad, notFiniteAt, randperm, scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { concatPairs, disposePairs, type StepPairs, selectPairs } from "../../objectives/step-pairs.js";
import type { Policy } from "../training/policy.js";
import type { HumanSettings } from "./human-config.js";
import { type Answered, type Question, QuestionSet } from "./question-set.js";

/** How often it looks for votes while it waits. */
const LOOK_MS = 500;
/** In a checkpoint's folder: the questions that waited then. */
const OPEN_FILE = "open-questions.json";
const OpenQuestions = z.object({ round: z.number(), open: z.array(z.string()) });

/** What a training that asks people works with. */
export interface AskingInput {
  run: Run;
  settings: HumanSettings;
  seed: number;
  prompts: readonly string[];
  policy: Pick<Policy, "withMergedAdapter">;
  process: NoiseProcess;
  decode: (latents: Tensor) => Tensor;
  device: Device;
  signal: AbortSignal;
  /** Called while it waits. */
  waiting: (progress: { done: number; total: number }) => void;
}

/** A round whose pairs people may decide. */
export interface AskedRound {
  round: number;
  isLast: boolean;
  /** Of the policy, one row a prompt of the round. */
  denoiser: Denoiser;
  /** Which prompts of the training the rows are. */
  chosen: readonly number[];
  /** Pairs that the judge alone decides. */
  decided: StepPairs;
  /** Pairs that people decide, of whom some are asked; disposed of here. */
  doubted: StepPairs;
  /** By comparison. */
  timesteps: readonly number[];
}

/** What is learned from in a round. */
export interface LearnedPairs {
  pairs: StepPairs;
  /** Prompts of the training; the pairs name them by their place here. */
  prompts: number[];
  /** Of people's answers. */
  answers: { used: number; none: number; fallback: number; open: number };
}

/** Asks people about some pairs of each round. */
export class AskedPeople {
  readonly #input: AskingInput;
  readonly #questions: QuestionSet;
  /** The round that comes next. */
  #round = 0;

  constructor(input: AskingInput) {
    this.#input = input;
    this.#questions = new QuestionSet(input.run.folder);
  }

  /** Goes on from a checkpoint's folder. Throws a UserError (`DATA`) where its list of questions is damaged. */
  restore(folder: string): void {
    const { round, open } = readRecord(join(folder, OPEN_FILE), OpenQuestions);
    this.#round = round;
    this.#questions.resume(round, open);
    this.#questions.write();
  }

  /** Which questions wait, for a checkpoint. */
  files(): CheckpointFiles {
    const open: z.output<typeof OpenQuestions> = { round: this.#round, open: this.#questions.save() };
    const text = Buffer.from(JSON.stringify(open));
    return { [OPEN_FILE]: { bytes: text.length, chunks: [text] } };
  }

  /** Asks about pairs of a round, takes the answers that have come to this one and to earlier ones, and waits where too many are open. */
  async exchange(asked: AskedRound): Promise<LearnedPairs> {
    const { round, isLast, chosen, decided, doubted } = asked;
    const { settings, signal, device } = this.#input;
    const added = await this.#newQuestions(asked);
    this.#questions.add(added);
    for (const { pairs } of [...added, { pairs: doubted }]) disposePairs(pairs);
    this.#questions.write();
    const learned: { question: Question; swapped: boolean }[] = [];
    const counts = { used: 0, none: 0, fallback: 0, open: 0 };
    const settle = (question: Question, answer: Answered, isOver: boolean): boolean => {
      if (answer === undefined && !isOver) return false;
      if (answer === undefined && settings.fallback === "judge") {
        counts.fallback++;
        learned.push({ question, swapped: false });
      } else if (answer === undefined || answer === "no pair") counts.none++;
      else {
        counts.used++;
        learned.push({ question, swapped: answer < 0.5 });
      }
      return true;
    };
    /** isOver: of a question, that its time has run out. */
    const look = async (isOver: (place: number, open: number) => boolean): Promise<void> => {
      const answers = await this.#questions.answers();
      const { open } = this.#questions;
      const settled = open.filter((question, i) =>
        settle(question, answers.get(question.id), isOver(i, open.length)),
      );
      if (settled.length === 0) return;
      this.#questions.settle(new Set(settled.map(({ id }) => id)));
      this.#questions.write();
    };
    // One that may be learned from in this round for the last time.
    const expires = (place: number): boolean =>
      round - (this.#questions.open[place] as Question).round >= settings.maxAge;
    await look(expires);
    const most = isLast ? 0 : settings.open;
    const until = performance.now() + 1000 * settings.patience;
    const begun = this.#questions.open.length;
    while (this.#questions.open.length > most && performance.now() < until && !signal.aborted) {
      this.#input.waiting({ done: begun - this.#questions.open.length, total: begun - most });
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
      await look(() => false);
    }
    if (!signal.aborted) await look((place, open) => place < open - most); // the oldest give way
    counts.open = this.#questions.open.length;
    this.#round = round + 1;
    const prompts = [...chosen, ...learned.map(({ question }) => question.row)];
    const pairs = scope(() =>
      concatPairs(
        [
          decided,
          ...learned.map(({ question, swapped }) =>
            turned(this.#questions.pairsOf(question, device), swapped),
          ),
        ],
        [0, ...learned.map((_, i) => chosen.length + i)],
      ),
    );
    disposePairs(decided);
    return { pairs, prompts, answers: counts };
  }

  /** Some pairs of a round with the pictures that people see: what the policy predicts from each side. */
  async #newQuestions({ round, denoiser, chosen, doubted, timesteps }: AskedRound) {
    const { settings, seed, prompts, policy, process, decode } = this.#input;
    const groups = new Map<string, number[]>(); // places of the pairs of one comparison of one prompt
    for (let i = 0; i < doubted.size; i++) {
      const key = `${doubted.comparisons[i]} ${doubted.prompts[i]}`;
      groups.set(key, [...(groups.get(key) ?? []), i]);
    }
    const all = [...groups.values()];
    const order = scope(() =>
      randperm(all.length, { generator: generatorAt(seed, "questions", round) }).toNumbers(),
    );
    const found = [];
    for (const place of order.slice(0, settings.questions)) {
      const places = all[place] as number[];
      const last = places.at(-1) as number;
      const [comparison, row] = [doubted.comparisons[last] as number, doubted.prompts[last] as number];
      const timestep = timesteps[comparison] as number;
      const images: Uint8Array[] = [];
      for (const side of [doubted.nextWin, doubted.nextLose]) {
        const rgb = policy.withMergedAdapter(() =>
          noGrad(() =>
            scope(() => {
              const xt = side.narrow(0, last, 1);
              const x0 =
                timestep === 0 ? xt : process.predict(xt, denoiser.forRows([row])(xt, timestep), timestep).x0;
              const pixels = decode(x0);
              return notFiniteAt(pixels).any().item() ? undefined : rgbFromPixels(pixels);
            }),
          ),
        );
        if (rgb) images.push(await encodePng(rgb.data, rgb.width, rgb.height));
      }
      const [best, worst] = images;
      if (!best || !worst) continue; // nobody can judge what is no picture
      const pairs = selectPairs(doubted, places);
      const facts = { round, timestep, row: chosen[row] as number, margin: doubted.margins[last] as number };
      found.push({
        ...facts,
        prompt: prompts[facts.row] as string,
        images: [best, worst] as const,
        pairs: { ...pairs, prompts: places.map(() => 0) },
      });
    }
    return found;
  }
}

/** The pair with its sides exchanged. */
const turned = (pairs: StepPairs, swapped: boolean): StepPairs =>
  swapped
    ? {
        ...pairs,
        ...{ latentsWin: pairs.latentsLose, latentsLose: pairs.latentsWin },
        ...{ nextWin: pairs.nextLose, nextLose: pairs.nextWin },
      }
    : pairs;
