// @ts-check
// Trains a tiny SPO and tells what is alive after each so many rounds, a line of JSON each:
// `node --expose-gc spo-rounds.mjs WORLD OUTPUT ROUNDS EVERY`. WORLD: a folder of `makeTinyWorld`; OUTPUT is made anew.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { getHeapStatistics } from "node:v8";
import { trainSpo } from "spo/recipes";
import { alive } from "./alive.mjs";

const [world = "", output = "", rounds = "300", every = "20"] = process.argv.slice(2);
rmSync(output, { recursive: true, force: true });
const settings = {
  model: join(world, "model"),
  spm: join(world, "spm"),
  prompts: join(world, "prompts.txt"),
  output: join(output, "model"),
  rounds: Number(rounds),
  ...{ promptsPerRound: 1, steps: 2, firstBranch: 0, candidates: 2, threshold: 0 },
  ...{ batch: 2, microBatch: 2, rank: 2, stripEvery: 10, samples: 1, sampleEvery: 10, saveEvery: 50 },
};
let seen = 0;
for await (const event of trainSpo(settings, { run: output })) {
  if (event.type !== "comparisons" || event.step === seen || event.step % Number(every) !== 0) continue;
  seen = event.step;
  console.log(JSON.stringify({ round: seen, ...alive(), heap: getHeapStatistics().used_heap_size }));
}
