// What a student learns of its teacher: vectors, or preferences alone.
import type { WorkMeter } from "@spo/records";
import { cat, keep, noGrad, scope, type Tensor, tensor, UserError } from "@spo/torch";
import type { CandidateScorer } from "../../judges/judge.js";
import { SpmJudge } from "../../judges/spm-judge.js";
import type { Segment } from "../../rollout/transitions.js";
import {
  comparesVectors,
  type PreferenceModel,
  textRows,
  type VectorModel,
} from "../../spm/preference-model.js";
import type { NoisedPairs, VectorSpread } from "./noised-pairs.js";
import type { SpmSource } from "./spm-source.js";
import type { TrainSpmConfig } from "./train-spm-config.js";
import { vectorLoss } from "./vector-loss.js";

/** Two candidates of a segment by their rows, j·B + b of B histories. */
export type PairOfRows = readonly [number, number];

/** How the candidates of a rollout become pairs. */
export interface Pairing {
  /** Shows the teacher the candidates of these texts, a history each. */
  prepare(texts: readonly string[], meter?: WorkMeter): CandidateScorer;
  pairs(segment: Segment, histories: number): PairOfRows[];
  /** The teacher's vectors of the candidates that were judged last, a row each, in no scope; where they are learned. */
  takeVectors?(): Tensor;
}

/** What is learned of a teacher. */
export interface Distillation {
  pairing: Pairing;
  /** Of pairs of one kind, which the loss asks for; absent where it does not. Throws a UserError (`NUMERIC`) where there is none. */
  spreadOf?(parts: readonly NoisedPairs[]): VectorSpread;
  /** Absent: that of labels. */
  loss?: SpmSource["loss"];
  dispose?(): void;
}

/** wanted null: vectors where the student can have them. Throws a UserError (`CONFIG`) where it cannot and they are wanted. */
export function distillation(
  wanted: TrainSpmConfig["distill"],
  {
    teacher,
    student,
    prompts,
  }: { teacher: PreferenceModel; student: PreferenceModel; prompts: readonly string[] },
): Distillation {
  const vectors = comparesVectors(teacher) && comparesVectors(student) && teacher.width === student.width;
  if (wanted === "vectors" && !vectors)
    throw new UserError(
      `distill is vectors, and the student's have ${widthOf(student)} numbers, the teacher's ${widthOf(teacher)}.`,
      {
        code: "CONFIG",
        hint: "Set distill to preferences, or leave init out: a new model of Stable Diffusion 1.5 takes the teacher's width.",
      },
    );
  if (!vectors || wanted === "preferences") return { pairing: preferences(teacher) };
  student.setScale(teacher.scale); // so that thresholds mean the same; no loss of vectors moves it
  return ofVectors(teacher, prompts);
}

/** σ(s₀ − s₁): how much a teacher prefers the first of two that it scores so. */
export const preferenceOf = (score0: number, score1: number): number => 1 / (1 + Math.exp(score1 - score0));

const widthOf = (model: PreferenceModel): number | string => (comparesVectors(model) ? model.width : "no");

/** Best and worst sibling of each history, and the first children of the two histories of each prompt. */
export function preferences(teacher: PreferenceModel): Pairing {
  const judge = new SpmJudge(teacher);
  return {
    prepare: (texts, meter) => judge.prepare(texts, meter),
    pairs: ({ comparison: { win, lose } }, histories) => {
      const half = histories / 2;
      return [
        ...win.map((best, b): PairOfRows => [best * histories + b, (lose[b] as number) * histories + b]),
        ...Array.from({ length: half }, (_, p): PairOfRows => [p, half + p]),
      ];
    },
  };
}

function ofVectors(teacher: VectorModel, prompts: readonly string[]): Distillation {
  const places = new Map(prompts.map((prompt, i) => [prompt, i]));
  const texts = keep(noGrad(() => scope(() => textVectors(teacher, prompts))));
  return {
    pairing: siblings(teacher),
    spreadOf,
    loss: (student, input, { vector0, vector1, spread }) => {
      const { device } = student;
      const rows = input.prompts.map((prompt) => places.get(prompt) as number);
      return vectorLoss(student as VectorModel, input, {
        vectors: [vector0 as Tensor, vector1 as Tensor].map((side) => side.to({ device })) as [
          Tensor,
          Tensor,
        ],
        texts: texts.indexSelect(0, tensor(rows, { dtype: "int64", device: texts.device })).to({ device }),
        spread: spread as readonly VectorSpread[],
      });
    },
    dispose: () => texts.dispose(),
  };
}

/** Texts that are read at a time. */
const TEXTS = 256;

const textVectors = (teacher: VectorModel, prompts: readonly string[]): Tensor =>
  cat(
    Array.from({ length: Math.ceil(prompts.length / TEXTS) }, (_, i) =>
      scope(() => teacher.textVectors(teacher.encode(prompts.slice(i * TEXTS, (i + 1) * TEXTS)))),
    ),
  );

/** Siblings in pairs, the first with the second and so on; of an odd number the last is left out. */
function siblings(teacher: VectorModel): Pairing {
  const seen: Tensor[] = [];
  return {
    prepare: (texts, meter) => {
      const read = keep(scope(() => teacher.encode(texts)));
      meter?.count("judgeText", texts.length);
      const { scale } = teacher;
      return {
        sees: teacher.sees,
        score: (candidates, rows, counted) =>
          scope(() => {
            counted?.count("judgeImage", rows.length);
            const own = textRows(read, rows);
            const vectors = teacher.imageVectors(teacher.look(candidates), candidates.timestep, own);
            seen.push(keep(vectors.to({ dtype: "float32", device: "cpu" }).clone()));
            return vectors.mul(teacher.textVectors(own)).sum(-1).mul(scale).to({ dtype: "float32" });
          }),
        dispose: () => {
          for (const text of Object.values(read)) text.dispose();
        },
      };
    },
    pairs: ({ scores: { length: candidates } }, histories) =>
      Array.from({ length: Math.floor(candidates / 2) }, (_, i) =>
        Array.from(
          { length: histories },
          (_, b): PairOfRows => [2 * i * histories + b, (2 * i + 1) * histories + b],
        ),
      ).flat(),
    takeVectors: () => {
      const all = keep(scope(() => cat(seen)));
      for (const part of seen.splice(0)) part.dispose();
      return all;
    },
  };
}

const spreadOf = (parts: readonly NoisedPairs[]): VectorSpread =>
  noGrad(() =>
    scope(() => {
      const [one, other] = (["vector0", "vector1"] as const).map((side) =>
        cat(parts.map((part) => part[side] as Tensor)),
      ) as [Tensor, Tensor];
      const all = cat([one, other]);
      const vectors = all
        .sub(all.mean([0], true))
        .square()
        .mean()
        .item();
      const differences = one.sub(other).square().mean().item();
      if (vectors > 0 && differences > 0 && Number.isFinite(vectors)) return { vectors, differences };
      throw new UserError(
        "The teacher sees no difference between the images that it is shown: there is nothing to learn.",
        {
          code: "NUMERIC",
          hint: "Its weights or the base's are damaged, or it was trained for another model.",
        },
      );
    }),
  );
