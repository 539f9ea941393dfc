// Pairs of images with labels: people's, or a scorer's.
import { dataFacts, openPairSet, type PairBatch, PairLoader } from "@spo/data";
import type { TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { type Device, UserError } from "@spo/torch";
import { loadReward } from "../../judges/load-reward.js";
import type { PreferenceModel } from "../../spm/preference-model.js";
import { type BatchSharer, positionsOfProcess } from "../training/micro-batches.js";
import type { PromptCache } from "../training/prompt-cache.js";
import { HeldOutAccuracy } from "./measure-accuracy.js";
import type { NoisedPairs } from "./noised-pairs.js";
import { pairNoiser } from "./pair-noiser.js";
import { relabelPairs } from "./relabel-pairs.js";
import type { SpmSource } from "./spm-source.js";
import type { TrainSpmConfig } from "./train-spm-config.js";
import { drawBank, pairStream, pairsOfBank } from "./training-pairs.js";

/** Held-out pairs that are noised together when `microBatch` does not say. */
const EVAL_CHUNK = 32;

/** side: of the images, pixels; onNoised: told of held-out pairs. Throws UserErrors for a scorer or pairs that will not do. */
export async function labelledSource(
  config: TrainSpmConfig,
  {
    pipe,
    cache,
    model,
    side,
    device,
    meter,
    sharer,
    onNoised,
  }: {
    pipe: TextToImage;
    cache?: PromptCache;
    model: PreferenceModel;
    side: number;
    device: Device;
    meter: WorkMeter;
    /** How the processes share a batch. */
    sharer: BatchSharer;
    onNoised: (done: number, total: number) => void;
  },
): Promise<SpmSource> {
  const { seed, batch, relabel, allowOutside, evalPairs } = config;
  const reward = relabel && (await loadReward(labeller(config), { tokenizer: pipe.tokenizer, device }));
  const labelled = async (read: PairBatch, counted?: WorkMeter): Promise<PairBatch> =>
    relabel && reward ? relabelPairs(read, { reward, threshold: relabel.threshold }, counted) : read;
  const noiser = pairNoiser(pipe, model, { ...config, side, cache });
  const reading = { side, kernel: "bicubic", aheadBytes: config.readAhead * 2 ** 20 } as const;
  const set = await openPairSet(config.pairs, { allowOutside, split: config.split });
  const share = positionsOfProcess(batch, config.microBatch ?? batch, sharer);
  const loader = new PairLoader(set, { seed, ...reading, share });
  const heldSet =
    evalPairs > 0
      ? await openPairSet(config.pairs, { allowOutside, split: config.evalSplit, limit: evalPairs })
      : undefined;
  const making = { noiser, labelled, batch, seed, meter };
  const bank: NoisedPairs[] = [];
  const stream = pairStream(loader, making);
  return {
    facts: dataFacts({ pairs: set.fingerprint }),
    accuracy:
      heldSet &&
      new HeldOutAccuracy({
        ...{ set: heldSet, reading: { ...reading, seed: null }, timesteps: config.evalTimesteps },
        ...{ chunk: config.microBatch ?? EVAL_CHUNK, seed, noiser, labelled, onNoised },
        withoutTies: relabel !== undefined, // source: algorithm 3c, evaluation
      }),
    async *prepare() {
      for await (const part of drawBank({ set, reading, count: config.bank }, making)) {
        bank.push(part);
        yield { done: Math.min(bank.length * batch, config.bank), total: config.bank };
      }
    },
    pairsOf: (step) => (bank.length > 0 ? pairsOfBank(bank, config) : stream)(step),
    inputs: (pairs, place) => noiser.inputs(pairs, place),
    async close() {
      await loader.close();
      await set.close();
      await heldSet?.close();
      reward?.dispose?.();
    },
  };
}

/** All prompts of a training's pairs and, where they are measured, the held-out ones. */
export async function promptsOfPairs(config: TrainSpmConfig): Promise<string[]> {
  const { pairs, allowOutside, split, evalSplit, evalPairs } = config;
  const found: string[] = [];
  for (const options of [{ split }, ...(evalPairs > 0 ? [{ split: evalSplit, limit: evalPairs }] : [])]) {
    const set = await openPairSet(pairs, { allowOutside, ...options });
    found.push(...(await set.prompts()));
    await set.close();
  }
  return found;
}

/** Which reward makes the labels anew. Throws a UserError (`CONFIG`) where none is named and there is no scorer to start from. */
function labeller({ relabel, init }: TrainSpmConfig): string {
  if (relabel?.by) return relabel.by;
  if (init !== null) return `pickscore:${init}`;
  throw new UserError("relabel.by is missing: there is no init whose plain scores could make the labels.", {
    code: "CONFIG",
    hint: "Name the scorer: --relabel.by pickscore:FOLDER.",
  });
}
