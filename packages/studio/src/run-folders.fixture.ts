// Run folders as trainings write them, small.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Run } from "@spo/records";
import { stripFileName } from "@spo/records/report";

/** A PNG of one pixel. */
export const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

/** Writes a run of `train spo` of so many rounds; text: what prompts and names say. The run is given back open. */
export function writeSpoRun(folder: string, { rounds = 3, text = "a bear" } = {}): Run {
  const config = { model: "m", prompts: "p.txt", rounds: 40, threshold: 0.3, optimizer: { lr: 1e-5 } };
  const run = Run.open(folder, { kind: "train spo", config, engine: { libtorch: "2.15.0" } });
  run.data({ prompts: 48, promptsSha256: "f3d3" });
  showSamples(run, 0, text);
  for (let round = 1; round <= rounds; round++) {
    writeStrips(folder, round - 1, text);
    const timesteps = [701, 1].map((timestep) => ({ timestep, pairs: 8, valid: round, margin: 0.1 * round }));
    run.record({ type: "comparisons", step: round, timesteps });
    run.step(
      round,
      40,
      { loss: 1 / 2 ** round, accuracy: 0.5 },
      { phases: { sampling: { wall: 1, cpu: 1 } } },
    );
    const learned = { timestep: 701, pairs: round, accuracy: 0.75, logRatio: 0.01 * round };
    run.record({ type: "pairs", step: round, timesteps: [learned] });
  }
  showSamples(run, rounds, text);
  run.warn(`watch ${text}`);
  return run;
}

function showSamples(run: Run, step: number, text: string): void {
  const images = [0, 1].map((i) => ({
    file: `samples/${step}-${i}.png`,
    prompt: `${text} ${i}`,
    seed: i,
    ...(i === 0 && { score: 12 + step }),
  }));
  mkdirSync(join(run.folder, "samples"), { recursive: true });
  for (const { file } of images) writeFileSync(join(run.folder, file), PIXEL);
  run.record({ type: "sample", step, images });
  run.eval(step, { score: 12 + step, drift: step / 10 });
}

function writeStrips(folder: string, round: number, prompt: string): void {
  const row = { prompt, win: 1, lose: 0, next: 2, valid: true, margin: 0.6, scores: [1, 2.4, 2] };
  const images = [0, 1, 2].map(() => PIXEL.toString("base64"));
  const rows = [
    { ...row, comparison: 0, timestep: 701, images },
    { ...row, comparison: 1, timestep: 401, images, valid: false, scores: [1, 1.1, 1], margin: 0.05 },
    { ...row, comparison: 2, timestep: 201, images, valid: false, scores: [1, 1, 1], margin: 0 },
    {
      ...row,
      comparison: 3,
      timestep: 1,
      images: [],
      valid: false,
      scores: [1, null, 1],
      margin: null,
      next: undefined,
    },
  ];
  mkdirSync(join(folder, "strips"), { recursive: true });
  writeFileSync(join(folder, "strips", stripFileName(round)), JSON.stringify(rows));
}
