// Guesses what an unknown name was meant to be: another spelling, the word of another tool, or a typing error.
import { editDistance, nearest } from "./nearest.js";
import { kebabCase } from "./spelling.js";

/** Names that other tools have for a setting or an option, in lower case and without separators, with ours, the likeliest first. */
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  cfg: ["guidanceScale"],
  cfgscale: ["guidanceScale"],
  guidance: ["guidanceScale"],
  n: ["count", "perPrompt"],
  num: ["count", "perPrompt"],
  numimages: ["count", "perPrompt"],
  numimagesperprompt: ["count", "perPrompt"],
  numsamples: ["count", "samples"],
  images: ["count"],
  batchsize: ["batch"],
  trainbatchsize: ["batch"],
  gradientaccumulationsteps: ["microBatch"],
  negativeprompt: ["negative"],
  numinferencesteps: ["steps"],
  numsteps: ["steps"],
  maxtrainsteps: ["steps", "rounds"],
  maxsteps: ["steps", "rounds"],
  epochs: ["steps", "rounds"],
  numtrainepochs: ["steps", "rounds"],
  scheduler: ["sampler"],
  samplername: ["sampler"],
  output: ["run"],
  outputdir: ["run", "output"],
  out: ["output", "run"],
  o: ["output"],
  prompt: ["prompts"],
  promptfile: ["prompts"],
  precision: ["dtype"],
  mixedprecision: ["dtype"],
  fp16: ["dtype"],
  bf16: ["dtype"],
  learningrate: ["optimizer.lr", "learningRate"],
  lr: ["optimizer.lr", "learningRate"],
  pretrainedmodelnameorpath: ["model"],
  checkpoint: ["model"],
  networkdim: ["rank"],
  lorarank: ["rank"],
  networkalpha: ["alpha"],
  loraalpha: ["alpha"],
  targetmodules: ["targets"],
  lrwarmupsteps: ["warmup", "warmupRounds"],
  warmupsteps: ["warmup", "warmupRounds"],
  betadpo: ["beta"],
  checkpointingsteps: ["saveEvery"],
  savesteps: ["saveEvery"],
  evalsteps: ["evalEvery"],
  size: ["resolution", "width"],
  res: ["resolution", "width"],
  vram: ["memory"],
  // What ours were called before.
  average: ["ema"],
  goeson: ["continueFrom"],
  judgedat: ["judgeTimestep"],
  marginamong: ["marginSoftmax"],
};

const bare = (name: string): string => name.replaceAll(/[-_]/g, "").toLowerCase();

/**
 * The name among `names` that a word was probably meant to be, if any. word and names: without leading dashes, in any spelling, paths too.
 */
export function meant(word: string, names: readonly string[]): string | undefined {
  const find = (spelling: string): string | undefined => names.find((name) => bare(name) === bare(spelling));
  return (
    find(word) ??
    SYNONYMS[bare(word)]?.map(find).find((name) => name !== undefined) ??
    near(word, names) ??
    [word, ...(SYNONYMS[bare(word)] ?? [])]
      .map((each) => names.find((name) => kebabCase(name).endsWith(`.${lastPartOf(kebabCase(each))}`)))
      .find((name) => name !== undefined)
  );
}

/** The nearest name; of a word of few letters only one that differs by one, since any two short words are near. */
function near(word: string, names: readonly string[]): string | undefined {
  const shown = new Map(names.map((name) => [kebabCase(name), name]));
  const name = nearest(kebabCase(word), [...shown.keys()]);
  return name !== undefined && (word.length > 3 || editDistance(word, name) === 1) && word.length > 1
    ? shown.get(name)
    : undefined;
}

/** `lr` of `optimizer.lr`. */
const lastPartOf = (key: string): string => key.slice(key.lastIndexOf(".") + 1);
