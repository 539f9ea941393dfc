// The quickstart's report, from its measurements.
import { cpus, totalmem } from "node:os";
import { encodePng } from "@spo/data/pixels";
import type { Event } from "@spo/records";
import { bootstrap, bootstrapMean, mean, winRate } from "@spo/records";
import {
  accuracyCharts,
  type ChartGroup,
  type Extremes,
  type ImagePair,
  type Measure,
  type ReportData,
  shownStrips,
  spoCharts,
  stageWork,
  verdict,
  written,
  writtenInterval,
} from "@spo/records/report";
import { kernelDistance } from "@spo/scorers";
import { type ImageFigures, judgeScore } from "../judge/evaluate.js";
import { diversities } from "./diversity.js";
import { extremePlaces } from "./extremes.js";
import type { QuickstartResult } from "./quickstart.js";
import { withoutFolders } from "./without-folders.js";

/** The quickstart's report from its result, images included. */
export async function quickstartReport(result: QuickstartResult): Promise<ReportData> {
  const { options, base, spo, settings, engine } = result;
  const random = settings.spo.judge === "random";
  const prompts = new Set(base.map(({ prompt }) => prompt)).size;
  const measured = measures(result);
  return {
    title: random ? "Random labels: base and control" : "SPO on emoji artwork: base and SPO",
    summary: `A small text-to-image model${options.family === "sd3" ? " of flow matching" : ""} was post-trained with step-aware preferences${random ? " drawn at random" : ""}. Both models drew ${prompts} prompts that took no part in it, from the same noise, ${base.length} images each.`,
    verdict: verdictOf(measured, base.length),
    measures: measured,
    pairCount: base.length,
    controlNote: result.control
      ? "Random labels: the same training with scores drawn at random and everything else equal, run once; its measures are those of a committed result."
      : undefined,
    pairs: await imagePairs(base, spo),
    extremes: await extremesOf(base, spo),
    strips: shownStrips(result.strips),
    charts: charts(result),
    work: [stageWork("preference model", result.spmEvents), stageWork("SPO", result.spoEvents)],
    settings: {
      "preference model": withoutFolders(settings.spm, options),
      SPO: withoutFolders(settings.spo, options),
      evaluation: settings.evaluation,
    },
    provenance: {
      ...engine,
      cpu: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
      memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
      "peak memory of this process": `${(process.resourceUsage().maxRSS / 1e6).toFixed(2)} GB`,
      "training, preference model": spent(result.spmEvents),
      "training, SPO": spent(result.spoEvents),
      date: new Date().toISOString().slice(0, 10),
    },
    notes: [
      ...(options.fast
        ? [
            "This was a fast run: little training and few images. It shows that all works, not what SPO reaches.",
          ]
        : []),
      ...result.spoEvents.flatMap((event) =>
        event.type === "guard"
          ? [
              `The guard ended SPO after round ${event.step}, with the model of round ${event.best}. ${event.reason}`,
            ]
          : [],
      ),
    ],
  };
}

/** Seconds of all the processes that wrote a run; each counts from 0. */
function spent(events: readonly Event[]): string {
  let [wall, cpu] = [0, 0];
  for (const [i, { time }] of events.entries()) {
    const next = events[i + 1]?.time;
    if (next && next.wall >= time.wall) continue;
    wall += time.wall;
    cpu += time.cpu;
  }
  return `${Math.round(wall)} s elapsed, ${Math.round(cpu)} s CPU`;
}

function measures({ base, spo, real, control }: QuickstartResult): Measure[] {
  const groups = base.map(({ prompt }) => prompt);
  type Paired = Pick<Measure, "base" | "spo" | "difference" | "wins">;
  const paired = (of: (image: ImageFigures) => number): Paired => compared(base.map(of), spo.map(of));
  const compared = (before: readonly number[], after: readonly number[]): Paired => ({
    base: bootstrapMean(before, { groups }),
    spo: bootstrapMean(after, { groups }),
    difference: bootstrap(
      groups.length,
      (rows) => mean(rows.map((row) => (after[row] as number) - (before[row] as number))),
      { groups },
    ),
    wins: winRate(before, after, { groups }),
  });
  const { wins: _, ...onPrompt } = paired(({ onPrompt }) => Number(onPrompt));
  const { wins: _1, ...diversity } = compared(diversities(base), diversities(spo));
  const featuresOf = (images: readonly ImageFigures[]) => ({
    features: images.map(({ features }) => features),
    groups,
  });
  const found: Measure[] = [
    {
      name: "an independent judge",
      about:
        "Log probability of the right concept plus logit of being real artwork, by a network trained on other renderings with another seed, that took no part in labels or scores.",
      unit: "number",
      better: "higher",
      ...paired(judgeScore),
      headline: true,
    },
    {
      name: "distance to real artwork",
      about:
        "Kernel distance of the independent judge's features to real renderings of the same prompts; 0: no difference. The estimate has no bias, so its interval may reach below 0.",
      unit: "number",
      better: "lower",
      base: kernelDistance(real, featuresOf(base)),
      spo: kernelDistance(real, featuresOf(spo)),
      headline: true,
    },
    {
      name: "on-prompt accuracy",
      about: "Share of images whose likeliest concept, to the independent judge, is the prompt's.",
      unit: "share",
      better: "higher",
      ...onPrompt,
      headline: true,
    },
    {
      name: "diversity of a prompt's images",
      about:
        "Mean distance between two images of one prompt: the root of their mean squared difference, pixels from −1 to 1. Images that all show the prompt are nearer to each other than some that do not; far below the base's it says that a prompt always gets the same picture.",
      unit: "number",
      better: "higher",
      ...diversity,
    },
    {
      name: "preference model's score",
      about: "What SPO optimises, on finished images; it says little without the others.",
      unit: "number",
      better: "higher",
      ...paired(({ spm }) => spm),
    },
  ];
  return found.map((measure) => {
    const same = control?.measures.find(({ name }) => name === measure.name);
    return same ? { ...measure, control: { value: same.spo, wins: same.wins } } : measure;
  });
}

/** What came out, by the measure that stands first. */
function verdictOf(found: readonly Measure[], pairs: number): string {
  const [first] = found as readonly [Measure];
  const { wins } = first;
  if (!wins) throw new Error("verdictOf: the first measure has no pairs");
  const share = `${written(wins.value, "share")} of ${pairs} pairs from the same noise (95 % interval ${writtenInterval(wins, "share")})`;
  const words = {
    better: `SPO's images are better by an independent judge: preferred in ${share}.`,
    worse: `SPO's images are worse by an independent judge: preferred in only ${share}.`,
    unclear: `An independent judge sees no clear change: SPO's images are preferred in ${share}.`,
  };
  return words[verdict(first)];
}

/** Prompts at each end of the picture that stands first. */
const EXTREMES = 6;

async function extremesOf(base: readonly ImageFigures[], spo: readonly ImageFigures[]): Promise<Extremes> {
  const { most, least } = extremePlaces(base, spo, EXTREMES);
  const pairOf = async (i: number): Promise<ImagePair> => {
    const [before, after] = [base[i] as ImageFigures, spo[i] as ImageFigures];
    return {
      ...{ prompt: before.prompt, seed: before.seed },
      base: await encodePng(before.rgb, before.side, before.side),
      spo: await encodePng(after.rgb, after.side, after.side),
    };
  };
  return {
    about:
      "Prompts at both ends of what the independent judge says, each shown by the image whose change is nearest to its prompt's mean.",
    most: await Promise.all(most.map(pairOf)),
    least: await Promise.all(least.map(pairOf)),
  };
}

/** All prompts of one seed, then of the next. */
async function imagePairs(
  base: readonly ImageFigures[],
  spo: readonly ImageFigures[],
): Promise<ReportData["pairs"]> {
  const seen = new Map<string, number>();
  const places = base.map(({ prompt, seed }, i) => {
    const rank = seen.get(prompt) ?? 0;
    seen.set(prompt, rank + 1);
    const alike = base.filter((other) => other.prompt === prompt && other.seed === seed);
    const image = alike.length > 1 ? alike.indexOf(base[i] as ImageFigures) + 1 : undefined;
    return { i, prompt, seed, rank, image };
  });
  places.sort((a, b) => a.rank - b.rank || a.i - b.i);
  const png = ({ rgb, side }: ImageFigures): Promise<Uint8Array> => encodePng(rgb, side, side);
  return Promise.all(
    places.map(async ({ i, prompt, seed, image }) => ({
      prompt,
      seed,
      image,
      base: await png(base[i] as ImageFigures),
      spo: await png(spo[i] as ImageFigures),
    })),
  );
}

function charts({ spmEvents, spoEvents, settings }: QuickstartResult): ChartGroup[] {
  return [
    {
      title: "The preference model",
      about: `${settings.spm.kind === "latent" ? "It judges noisy latents as they are: nothing is predicted or decoded for it" : "It judges clean and noisy images alike"}. Pairs of ${settings.spm.evalTimesteps.length} timesteps were held out, with prompts of no training pair; the CLIP that it ${settings.spm.kind === "latent" ? "was distilled from" : "begins as"} was trained on captioned artwork of them, too.`,
      charts: accuracyCharts(spmEvents),
    },
    {
      title: "SPO training",
      about: "What the policy learns from the pairs, update by update, and which pairs there were.",
      charts: spoCharts(spoEvents),
    },
  ];
}
