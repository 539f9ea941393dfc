// The scores of all candidates of one timestep, and the pictures of those that people want to see.
import { CANDIDATE_PICTURES, timed } from "@spo/records";
import { cat, keep, Scope, scope, Tensor, UserError } from "@spo/torch";
import { JUDGE_CHUNK } from "../judges/judge.js";
import type { RolloutInput } from "./rollout.js";

/** Clean latents predicted of these children, [rows, c, h, w]. */
export type Predicted = (rows: readonly number[]) => Tensor;

/**
 * Scores of all children, [k][B], by judge where their agreement is asked for, [m][k][B], and the decoded
 * predictions of those prompts whose pictures are wanted.
 */
export function judgeCandidates(
  {
    scorer,
    decode,
    initialLatents,
    settings,
    judgeChunk = JUDGE_CHUNK,
    stripPrompts = [],
    meter,
  }: Omit<RolloutInput, "denoiser" | "process" | "randomness" | "onStep">,
  {
    xt,
    predicted,
    timestep,
    rows,
  }: { xt: Tensor; predicted: Predicted; timestep: number; rows: readonly number[] },
): { scores: number[][]; byJudge?: number[][][]; pictures: Map<number, Tensor> } {
  const prompts = initialLatents.shape[0] as number;
  const scores: number[] = [];
  const opinions: number[][][] = []; // by chunk and judge
  const asksEach = (settings.judgeAgreement ?? 0) > 0 && scorer.scoreByJudge !== undefined;
  const pictures = new Map<number, Tensor[]>(stripPrompts.map((prompt) => [prompt, []]));
  const decodeCounted = (latents: Tensor): Tensor => {
    meter?.count("vaeDecode", latents.shape[0] as number);
    return decode(latents);
  };
  for (let start = 0; start < rows.length; start += judgeChunk) {
    const chunk = rows.slice(start, start + judgeChunk);
    using memory = new Scope();
    let clean: Tensor | undefined;
    let decoded: Tensor | undefined;
    // What the judge asks for must outlive its own scopes, so it belongs to no scope until the chunk is done.
    const candidates = {
      xt: xt.narrow(0, start, chunk.length),
      timestep,
      get x0(): Tensor {
        clean ??= keep(predicted(chunk.map((_, i) => start + i)));
        return clean;
      },
      image(): Tensor {
        decoded ??= keep(timed(meter, "decode", () => decodeCounted(candidates.x0)));
        return decoded;
      },
    };
    try {
      const given = timed(meter, "judge", () => {
        if (!asksEach) return scorer.score(candidates, chunk, meter);
        const each = memory.keep(scorer.scoreByJudge?.(candidates, chunk, meter) as Tensor);
        opinions.push(each.unbind(0).map((of) => oneEach(of, chunk.length)));
        return each.sum([0]);
      });
      scores.push(...oneEach(given, chunk.length));
      for (const [i, prompt] of chunk.entries()) {
        const wanted = pictures.get(prompt);
        if (!wanted || !(decoded || clean)) continue;
        const picture = timed(meter, CANDIDATE_PICTURES, () =>
          decoded ? decoded.narrow(0, i, 1).clone() : decodeCounted((clean as Tensor).narrow(0, i, 1)),
        );
        wanted.push(memory.keep(picture));
      }
    } finally {
      clean?.dispose();
      decoded?.dispose();
    }
  }
  // What the judge did without is the price of the pictures, and of no part of the round. The candidates of a prompt at once: less by far
  // than one by one, and the same whichever prompts are beside it.
  for (const [prompt, images] of pictures) {
    if (images.length > 0) continue;
    const ofPrompt = rows.flatMap((row, i) => (row === prompt ? [i] : []));
    images.push(timed(meter, CANDIDATE_PICTURES, () => scope(() => decodeCounted(predicted(ofPrompt)))));
  }
  const byCandidate = (of: readonly number[]): number[][] =>
    range(settings.candidates).map((j) => of.slice(j * prompts, (j + 1) * prompts));
  return {
    scores: byCandidate(scores),
    ...(asksEach && {
      byJudge: range(opinions[0]?.length ?? 0).map((i) =>
        byCandidate(opinions.flatMap((chunk) => chunk[i] as number[])),
      ),
    }),
    pictures: new Map([...pictures].map(([prompt, images]) => [prompt, cat(images)])),
  };
}

/** Scores as numbers. Throws a UserError (`DATA`) unless there is one for each of n candidates. */
export function oneEach(scores: Tensor, n: number): number[] {
  if (scores instanceof Tensor && scores.shape.length === 1 && scores.shape[0] === n)
    return scores.toNumbers();
  const found = scores instanceof Tensor ? `a tensor [${scores.shape}]` : `a ${typeof scores}`;
  throw new UserError(`The judge was shown ${n} candidates and gave ${found}, not a tensor [${n}].`, {
    code: "DATA",
    hint: "A judge gives one score for each candidate: mean or sum over everything but the first dimension.",
  });
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
