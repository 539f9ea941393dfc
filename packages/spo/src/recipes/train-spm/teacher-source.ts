// Pairs without labels: samples of the base's own rollouts, and how much another preference model, the teacher, prefers one to the other.
import { setImmediate } from "node:timers/promises";
import { dataFacts, fingerprintOfPrompts, openPairSet, readPrompts } from "@spo/data";
import { guidedDenoiser, type TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import {
  type Generator,
  generatorAt,
  keep,
  noGrad,
  randint,
  randn,
  randperm,
  scope,
  type Tensor,
  tensor,
  UserError,
} from "@spo/torch";
import { drawn } from "../../rollout/randomness.js";
import { rollout } from "../../rollout/rollout.js";
import type { Segment } from "../../rollout/transitions.js";
import type { PreferenceModel } from "../../spm/preference-model.js";
import { AccuracyByTimestep } from "./accuracy-by-timestep.js";
import { distillation, type Pairing, preferenceOf, preferences } from "./distillation.js";
import { imagesOf, PROMPTS, WINDOW } from "./distillation-batch.js";
import { LatentPairNoiser, PUBLISHED_LEVELS } from "./latent-pair-noiser.js";
import {
  disposePairs,
  fromBank,
  joinPairs,
  type NoisedPairs,
  onCpu,
  type VectorSpread,
} from "./noised-pairs.js";
import type { Accuracy, SpmSource } from "./spm-source.js";
import { TaughtImages } from "./taught-images.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/**
 * A student of latents and another preference model, its teacher, which sees what it would see as a judge: of images x̂0, predicted and
 * decoded. As many samples of the base as wanted, and no labels. What a rollout draws depends on the seed and its number alone.
 * The base's samples teach nothing of images that it does not draw: a share of each step may be images of a preference set.
 *
 * Learns the teacher's vectors of samples and texts, siblings in pairs; or its preferences, σ(s₀ − s₁), between siblings, of which SPO will
 * ask, and between two histories of a prompt: one number a pair where a vector has hundreds.
 * Throws UserErrors for prompts and pairs that will not do, and for a student that does not look at latents.
 */
export async function teacherSource(
  config: TrainSpmConfig,
  {
    pipe,
    model,
    teacher,
    side,
    meter,
  }: { pipe: TextToImage; model: PreferenceModel; teacher: PreferenceModel; side: number; meter: WorkMeter },
): Promise<SpmSource> {
  requireDistillation(config, model);
  const { batch, seed, bank, evalPairs, split, allowOutside } = config;
  const imageBatch = imagesOf(config);
  const sampleBatch = batch - imageBatch;
  const prompts = readPrompts(config.prompts as string);
  const heldOut = config.heldOut === null ? prompts : readPrompts(config.heldOut);
  const set = imageBatch > 0 ? await openPairSet(config.pairs, { allowOutside, split }) : undefined;
  const learned = distillation(config.distill, {
    ...{ teacher, student: model },
    prompts: [...new Set([...prompts, ...((await set?.prompts()) ?? [])])],
  });
  const images =
    set &&
    new TaughtImages({
      ...{ ...config, pipe, set, side, meter, pairing: learned.pairing, spreadOf: learned.spreadOf },
      noiser: new LatentPairNoiser(pipe, model, { ...config, side }),
      batch: imageBatch,
    });
  const rollouts = { ...config, pipe, side };
  const made = new Map<number, NoisedPairs>();
  const make = (number: number, counted?: WorkMeter): NoisedPairs => {
    const found =
      made.get(number) ??
      teacherPairs(
        { ...rollouts, prompts, generator: generatorAt(seed, "teacher", number), pairing: learned.pairing },
        counted,
      );
    made.set(number, found);
    return found;
  };
  const forget = (below: number): void => {
    for (const [number, pairs] of made) {
      if (number >= below) continue;
      disposePairs(pairs);
      made.delete(number);
    }
  };
  let size = 0; // pairs of one rollout
  let spread: VectorSpread | undefined; // of the base's samples
  const wholeBank = (): number => Math.max(1, Math.ceil(bank / size));
  /** The rollouts that a step's pairs come from: all of the bank, or the window of the step. */
  const windowAt = (step: number): { first: number; count: number } => {
    if (bank > 0) return { first: 0, count: wholeBank() };
    const steps = Math.max(1, Math.floor((WINDOW * size) / sampleBatch));
    return { first: Math.floor(step / steps) * WINDOW, count: WINDOW };
  };
  return {
    facts: dataFacts({
      ...{ prompts: fingerprintOfPrompts(prompts), heldOut: fingerprintOfPrompts(heldOut) },
      ...(set && { pairs: set.fingerprint }),
    }),
    accuracy:
      evalPairs > 0
        ? new Agreement(evalPairs, (number) =>
            teacherPairs({
              ...rollouts,
              prompts: heldOut,
              generator: generatorAt(seed, "teacher, held out", number),
              pairing: preferences(teacher),
            }),
          )
        : undefined,
    async *prepare() {
      const first = make(0, meter);
      size = first.prompts.length;
      spread = learned.spreadOf?.([first]);
      const total = bank + (images?.kept ?? 0);
      for await (const done of images?.prepare() ?? []) yield { done, total };
      for (let done = 1; bank > 0 && done <= wholeBank(); done++) {
        make(done - 1, meter);
        yield { done: total - bank + Math.min(done * size, bank), total };
        await setImmediate(); // lets signals arrive
      }
    },
    pairsOf: (step) => {
      const { first, count } = windowAt(step);
      const places = scope(() =>
        randint(0, count * size, [sampleBatch], { generator: generatorAt(seed, "step", step) }).toNumbers(),
      );
      return {
        examples: Array<number>(batch).fill(1),
        read: async (start, length) => {
          forget(first);
          const parts: NoisedPairs[] = [];
          for (let i = 0; i < count; i++) {
            if (!made.has(first + i)) await setImmediate();
            parts.push(make(first + i, meter));
          }
          const wanted = places.slice(start, start + length); // the samples of a step come first
          const rest = length - wanted.length;
          const shown =
            rest > 0 ? await images?.read(step, Math.max(0, start - sampleBatch), rest) : undefined;
          return () =>
            scope(() =>
              joinPairs([
                ...(wanted.length > 0
                  ? [
                      {
                        ...fromBank(parts, wanted),
                        ...(spread && { spread: Array(wanted.length).fill(spread) }),
                      },
                    ]
                  : []),
                ...(shown ? [shown()] : []),
              ]),
            );
        },
      };
    },
    loss: learned.loss,
    inputs: ({ side0, side1 }) => [model.look(sightOf(side0)), model.look(sightOf(side1))],
    close: async () => {
      forget(Number.POSITIVE_INFINITY);
      learned.dispose?.();
      await images?.close();
    },
  };
}

/** Throws a UserError (`CONFIG`) for settings under which a teacher teaches nothing. */
function requireDistillation(config: TrainSpmConfig, { sees }: PreferenceModel): void {
  const { prompts, relabel, pairs, batch, imageShare } = config;
  const refuse = (why: string, hint: string): never => {
    throw new UserError(why, { code: "CONFIG", hint });
  };
  if (sees !== "latents")
    refuse(
      "A teacher teaches a preference model that looks at latents.",
      "Add --kind latent, or train on pairs.",
    );
  if (prompts === null)
    refuse(
      "prompts is missing: what the base draws for the teacher to score.",
      "Give a text file: --prompts prompts.txt.",
    );
  if (relabel)
    refuse(
      "With a teacher there are no labels: of pairs it sees the images alone, and relabel is of no use.",
      "Leave relabel out, or leave the teacher out.",
    );
  const images = imagesOf(config);
  if (pairs.length > 0 && (images === 0 || images === batch))
    refuse(
      `Of a batch of ${batch} a share of ${imageShare} (imageShare) are ${images} pairs of images: ${images === 0 ? "the pairs teach nothing" : "no sample of the base is left"}.`,
      "Give a larger batch, or another imageShare; or leave pairs out.",
    );
}

/** What a rollout for the teacher is sampled with. */
interface TeacherRollout
  extends Pick<TrainSpmConfig, "guidanceScale" | "candidates" | "noiseLevels" | "maxTimestep"> {
  pipe: TextToImage;
  pairing: Pairing;
  prompts: readonly string[];
  /** Of the images, pixels. */
  side: number;
  generator: Generator;
}

/** The pairs of one rollout, on the CPU, by no scope. */
function teacherPairs(
  { pipe, pairing, prompts, side, generator, guidanceScale, maxTimestep, ...settings }: TeacherRollout,
  meter?: WorkMeter,
): NoisedPairs {
  return noGrad(() =>
    keep(
      scope(() => {
        const { denoiser: model, vae, process } = pipe;
        const chosen = randperm(prompts.length, { generator }).toNumbers().slice(0, PROMPTS);
        const once = chosen.map((row) => prompts[row] as string);
        const texts = [...once, ...once];
        const conditions = pipe.encode(texts, { size: [side, side] });
        const { device } = model;
        const latentSide = side / vae.factor;
        const shape = [texts.length, ...model.latentShape([latentSide, latentSide])];
        const scorer = pairing.prepare(texts, meter);
        const { read } = rollout(
          {
            denoiser: guidedDenoiser({ model, ...conditions, guidanceScale }),
            process,
            decode: (latents) => vae.decodeLatents(latents),
            scorer,
            initialLatents: randn(shape, { generator }).to({ device }),
            randomness: drawn(generator, { device }),
            settings: {
              steps: settings.noiseLevels ?? PUBLISHED_LEVELS,
              candidates: settings.candidates,
              firstBranch: 0,
              threshold: 0,
            },
            meter,
          },
          (segment) => pairsOfSegment(segment, { texts, maxTimestep, pairing }),
        );
        scorer.dispose?.();
        return joinPairs(read.filter((part) => part !== undefined));
      }),
    ),
  );
}

/** texts: of B histories. Nothing where the samples are noisier than they may be. */
function pairsOfSegment(
  segment: Segment,
  { texts, maxTimestep, pairing }: { texts: readonly string[]; maxTimestep: number; pairing: Pairing },
): NoisedPairs | undefined {
  const { transitions, scores, comparison } = segment;
  const last = transitions.at(-1);
  return scope(() => {
    const vectors = pairing.takeVectors?.();
    try {
      if (!last || last.previous > maxTimestep) return undefined;
      if (comparison.finite.includes(false))
        throw new UserError(`The teacher gives a sample at timestep ${last.previous} no finite score.`, {
          code: "NUMERIC",
          hint: "Its weights or the base's are damaged, or the base's samples ran away: a smaller guidanceScale.",
        });
      const histories = texts.length;
      const pairs = pairing.pairs(segment, histories);
      const sideOf = (of: Tensor, side: 0 | 1): Tensor => {
        const rows = pairs.map((pair) => pair[side]);
        return of.indexSelect(0, tensor(rows, { dtype: "int64", device: of.device }));
      };
      const scoreOf = (row: number): number =>
        scores[Math.floor(row / histories)]?.[row % histories] as number;
      return onCpu({
        side0: sideOf(last.to, 0),
        side1: sideOf(last.to, 1),
        ...(vectors && { vector0: sideOf(vectors, 0), vector1: sideOf(vectors, 1) }),
        timesteps: tensor(
          pairs.map(() => last.previous),
          { dtype: "int64" },
        ),
        prompts: pairs.map(([row]) => texts[row % histories] as string),
        label0: pairs.map(([one, other]) => preferenceOf(scoreOf(one), scoreOf(other))),
        examples: pairs.map(() => 1),
      });
    } finally {
      vectors?.dispose();
    }
  });
}

/** Share of held-out pairs that the student orders as the teacher does, by timestep. */
class Agreement implements Accuracy {
  readonly #rollouts: (number: number) => NoisedPairs;
  readonly #count: number;
  #held: NoisedPairs[] = [];

  /** count: of pairs, at least. */
  constructor(count: number, rollouts: (number: number) => NoisedPairs) {
    this.#count = count;
    this.#rollouts = rollouts;
  }

  async prepare(): Promise<void> {
    for (let pairs = 0; pairs < this.#count; ) {
      const part = this.#rollouts(this.#held.length);
      this.#held.push(part);
      pairs += part.prompts.length;
      await setImmediate();
    }
  }

  async measure(
    model: PreferenceModel,
    onPairs: (done: number, total: number) => void,
  ): Promise<Record<string, number>> {
    const timesteps = this.#held.map((part) => part.timesteps.toNumbers());
    const levels = [...new Set(timesteps.flat())].sort((a, b) => a - b);
    const found = new AccuracyByTimestep(levels, { withoutTies: true });
    const total = this.#held.length;
    for (const [i, part] of this.#held.entries()) {
      onPairs(i, total);
      for (const t of levels) {
        const places = (timesteps[i] as number[]).flatMap((at, row) => (at === t ? [row] : []));
        const [score0, score1] = noGrad(() =>
          scope(() => {
            const pairs = fromBank([part], places);
            const texts = model.encode(pairs.prompts);
            return [pairs.side0, pairs.side1].map((xt) =>
              model.score(model.look(sightOf(xt)), t, texts).toNumbers(),
            );
          }),
        ) as [number[], number[]];
        found.add(t, { score0, score1, label0: places.map((row) => part.label0[row] as number) });
      }
      await setImmediate();
    }
    return found.metrics();
  }
}

/** Latents as a model of latents looks at them. */
const sightOf = (xt: Tensor) => ({
  xt,
  image: (): never => {
    throw new Error("a model of latents sees no image");
  },
});
