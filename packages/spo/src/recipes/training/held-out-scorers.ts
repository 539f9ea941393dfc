// Scorers that train nothing: what they say of held-out samples tells whether a training's own score can be believed.
import { basename, extname } from "node:path";
import type { TextToImage } from "@spo/diffusion";
import { isModulePath } from "@spo/records/config";
import { noGrad } from "@spo/torch";
import type { CandidateScorer } from "../../judges/judge.js";
import { openJudge } from "../../judges/open-judge.js";

/** A scorer of the held-out prompts, under its name in measurements. */
export interface HeldOutScorer {
  name: string;
  scorer: CandidateScorer;
}

/** Opens the scorers that a config names, for prompts. Throws UserErrors as `openJudge`. */
export async function openHeldOutScorers(
  specs: readonly string[],
  prompts: readonly string[],
  { pipe, latentSize, seed }: { pipe: TextToImage; latentSize: readonly [number, number]; seed: number },
): Promise<HeldOutScorer[]> {
  const found: HeldOutScorer[] = [];
  for (const [i, spec] of specs.entries()) {
    const judge = await openJudge({ judge: spec, spm: null, seed }, pipe, latentSize);
    const name = isModulePath(spec) ? basename(spec, extname(spec)) : (spec.split(":")[0] as string);
    const isTaken = found.some((other) => other.name === name);
    found.push({ name: isTaken ? `${name} ${i + 1}` : name, scorer: noGrad(() => judge.prepare(prompts)) });
  }
  return found;
}
