// Pictures of a round's candidates, for the report.
import { join } from "node:path";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import { CANDIDATE_PICTURES, type Run, type WorkMeter } from "@spo/records";
import { stripFileName } from "@spo/records/report";
import { notFiniteAt, scope, writeFileAtomic } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import type { CandidateScorer } from "../../judges/judge.js";
import type { CandidateStrip } from "../../rollout/transitions.js";
import type { RecipeEvent } from "../recipe.js";
import { byStepAndPrompt } from "./round-parts.js";

/** Side of the pictures, pixels: a round has hundreds of them. */
const STRIP_SIDE = 128;

/**
 * Places, among prompts that are sampled together, of those whose candidates are kept: the round's first two, or of a judge of latents the
 * first, as each picture then takes a pass and a decode of its own. rows: their places in the round.
 */
export function watchedPlaces(rows: readonly number[], { sees }: Pick<CandidateScorer, "sees">): number[] {
  const watched = sees === "latents" ? 1 : 2;
  return rows.flatMap((row, place) => (row < watched ? [place] : []));
}

/**
 * Writes the candidates of a round, those of all processes, into the run's folder, and disposes their images. strips: of this process.
 * prompts: of the round.
 */
export async function* saveStrips(
  { run, world, meter }: { run: Run; world: World; meter: WorkMeter },
  round: number,
  strips: readonly CandidateStrip[],
  prompts: readonly string[],
): AsyncGenerator<RecipeEvent> {
  const { shown, missing } = await meter.phaseOf(CANDIDATE_PICTURES, () => encodedStrips(strips));
  const parts = await world.gather({ shown, missing });
  const all = parts.flatMap((part) => part.shown).sort(byStepAndPrompt);
  const lost = parts.reduce((sum, part) => sum + part.missing, 0);
  const named = all.map(({ prompt, images, ...strip }) => ({ ...strip, prompt: prompts[prompt], images }));
  const path = join(run.folder, "strips", stripFileName(round));
  if (run.writes) meter.phase(CANDIDATE_PICTURES, () => writeFileAtomic(path, JSON.stringify(named)));
  if (lost > 0)
    yield* run.warn(
      `round ${round + 1}: candidates that are not finite are not kept as images, at ${lost} of ${all.length} comparisons`,
    );
}

/** As PNG in base64; none of those that are not finite. missing: how many strips have such. Disposes the images. */
async function encodedStrips(strips: readonly CandidateStrip[]) {
  const shown = [];
  let missing = 0;
  for (const { images, ...strip } of strips) {
    const sound = !scope(() => notFiniteAt(images).any().item());
    if (!sound) missing++;
    const encoded: string[] = [];
    for (let j = 0; sound && j < strip.scores.length; j++) {
      const { data, width, height } = scope(() => rgbFromPixels(images.narrow(0, j, 1)));
      encoded.push(
        Buffer.from(await encodePng(data, width, height, { most: STRIP_SIDE })).toString("base64"),
      );
    }
    shown.push({ ...strip, images: encoded });
    images.dispose();
  }
  return { shown, missing };
}
