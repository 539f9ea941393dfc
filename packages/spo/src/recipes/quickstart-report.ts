// From what the quickstart measured to what its report shows.
import { cpus, totalmem } from "node:os";
import { encodePng } from "../data/pixels.js";
import { type ImageFigures, judgeScore } from "../evaluation/evaluate.js";
import { kernelDistance } from "../evaluation/kernel-distance.js";
import type { Event } from "../records/index.js";
import type {
  Chart,
  ChartGroup,
  Measure,
  Point,
  ReportData,
  Series,
  StageWork,
  Strip,
} from "../report/index.js";
import { bootstrap, bootstrapMean, mean, winRate } from "../statistics.js";
import type { QuickstartResult, StripFile } from "./quickstart.js";

/** Steps of a strip that are shown: more would say the same again. */
const STRIP_ROWS = 5;

export async function quickstartReport(result: QuickstartResult): Promise<ReportData> {
  const { options, base, spo, settings, engine } = result;
  const random = settings.spo.judge === "random";
  const prompts = new Set(base.map(({ prompt }) => prompt)).size;
  return {
    title: random ? "Random labels: base and control" : "SPO on emoji artwork: base and SPO",
    summary: `A small text-to-image model was post-trained with step-aware preferences${random ? " drawn at random" : ""}. Both models drew ${prompts} prompts that took no part in it, from the same noise, ${base.length} images each.`,
    measures: measures(result),
    pairCount: base.length,
    controlNote: result.control
      ? "Random labels: the same training with scores drawn at random and everything else equal, run once; its measures are those of a committed result."
      : undefined,
    pairs: await imagePairs(base, spo),
    strips: strips(result.strips),
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
    notes: options.fast
      ? [
          "This was a fast run: little training and few images. It shows that all works, not what SPO reaches.",
        ]
      : undefined,
  };
}

/** The settings with what is of this machine left out: a report is shown elsewhere. */
function withoutFolders(settings: object, { example, folder }: QuickstartResult["options"]): object {
  const shorten = (value: unknown): unknown =>
    typeof value === "string" ? value.replace(example, "example").replace(folder, "run") : value;
  return Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, shorten(value)]));
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
  const paired = (
    of: (image: ImageFigures) => number,
  ): Pick<Measure, "base" | "spo" | "difference" | "wins"> => {
    const [before, after] = [base.map(of), spo.map(of)];
    return {
      base: bootstrapMean(before, { groups }),
      spo: bootstrapMean(after, { groups }),
      difference: bootstrap(
        groups.length,
        (rows) => mean(rows.map((row) => (after[row] as number) - (before[row] as number))),
        { groups },
      ),
      wins: winRate(before, after, { groups }),
    };
  };
  const { wins: _, ...onPrompt } = paired(({ onPrompt }) => Number(onPrompt));
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
      about: "Kernel distance of the independent judge's features to real renderings of the same prompts.",
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

/** All prompts of one seed, then of the next. */
async function imagePairs(
  base: readonly ImageFigures[],
  spo: readonly ImageFigures[],
): Promise<ReportData["pairs"]> {
  const seen = new Map<string, number>();
  const places = base.map(({ prompt, seed }, i) => {
    const rank = seen.get(prompt) ?? 0;
    seen.set(prompt, rank + 1);
    return { i, prompt, seed, rank };
  });
  places.sort((a, b) => a.rank - b.rank || a.i - b.i);
  const png = ({ rgb, side }: ImageFigures): Promise<Uint8Array> => encodePng(rgb, side, side);
  return Promise.all(
    places.map(async ({ i, prompt, seed }) => ({
      prompt,
      seed,
      base: await png(base[i] as ImageFigures),
      spo: await png(spo[i] as ImageFigures),
    })),
  );
}

/** Of each prompt a few comparisons, from the noisiest to the finished image. */
function strips(file: StripFile): Strip[] {
  const prompts = [...new Set(file.map(({ prompt }) => prompt))];
  return prompts.map((prompt) => {
    const rows = file.filter((row) => row.prompt === prompt);
    const shown = Array.from({ length: Math.min(STRIP_ROWS, rows.length) }, (_, i) =>
      Math.round((i * (rows.length - 1)) / Math.max(1, Math.min(STRIP_ROWS, rows.length) - 1)),
    );
    return {
      prompt,
      rows: shown.map((place) => {
        const { images, comparison: _, prompt: __, ...row } = rows[place] as StripFile[number];
        return { ...row, images: images.map((image) => new Uint8Array(Buffer.from(image, "base64"))) };
      }),
    };
  });
}

function charts({ spmEvents, spoEvents, settings }: QuickstartResult): ChartGroup[] {
  const updates = spoEvents.filter((event) => event.type === "step");
  const curve = (name: string, tone: Series["tone"], key: string): Series => ({
    name,
    tone,
    noisy: true,
    points: updates.map(({ metrics }, i) => ({ x: i + 1, y: metrics[key] ?? Number.NaN })),
  });
  const update = { label: "update" };
  const line = (
    title: string,
    caption: string,
    y: Chart["y"],
    series: Series[],
    reference?: Chart["reference"],
  ): Chart => ({
    title,
    caption,
    kind: "line",
    x: update,
    y,
    series,
    reference,
  });
  return [
    {
      title: "The preference model",
      about: `It judges clean and noisy images alike. Pairs of ${settings.spm.evalTimesteps.length} timesteps were held out, with prompts of no training pair.`,
      charts: accuracyCharts(spmEvents),
    },
    {
      title: "SPO training",
      about: "What the policy learns from the pairs, update by update, and which pairs there were.",
      charts: [
        line(
          "Loss",
          "ln 2 is where nothing is preferred.",
          { label: "loss" },
          [curve("loss", "spo", "loss")],
          {
            y: Math.LN2,
            label: "ln 2",
          },
        ),
        line(
          "Likelihood ratios",
          "How much likelier a step has become than under the base: of winners it should be larger than of losers.",
          { label: "ratio" },
          [curve("winners", "win", "ratioWin"), curve("losers", "lose", "ratioLose")],
          { y: 1, label: "as the base" },
        ),
        line(
          "Win over lose",
          "Share of pairs whose winner has become likelier than its loser; and share of sides whose ratio is clipped.",
          { label: "share", share: true },
          [curve("win over lose", "spo", "accuracy"), curve("clipped", "third", "clipped")],
          { y: 0.5, label: "chance" },
        ),
        ...comparisonCharts(spoEvents),
      ],
    },
  ];
}

function accuracyCharts(events: readonly Event[]): Chart[] {
  const evals = events.filter((event) => event.type === "eval");
  const last = evals.at(-1);
  if (!last) return [];
  const byTimestep = ({ metrics }: (typeof evals)[number]): Point[] =>
    Object.entries(metrics)
      .map(([key, value]) => ({ x: Number(key.replace("accuracy/t=", "")), y: value ?? Number.NaN }))
      .sort((a, b) => a.x - b.x);
  const first = evals[0] as typeof last;
  const share = { label: "accuracy", share: true } as const;
  const chance = { y: 0.5, label: "chance" };
  return [
    {
      title: "Accuracy by timestep",
      caption: "On held-out pairs: 0 is the clean image, 999 pure noise.",
      kind: "line",
      x: { label: "timestep", reversed: true },
      y: share,
      series: [
        { name: "untrained", tone: "base", points: byTimestep(first) },
        { name: "trained", tone: "spo", points: byTimestep(last) },
      ],
      reference: chance,
    },
    {
      title: "Accuracy while it learns",
      caption: "On held-out clean pairs, and on those at the noisiest timestep.",
      kind: "line",
      x: { label: "step" },
      y: share,
      series: (
        [
          ["clean", "spo", 0],
          ["noisiest", "third", -1],
        ] as const
      ).map(([name, tone, place]) => ({
        name,
        tone,
        points: evals.map((event) => ({ x: event.step, y: byTimestep(event).at(place)?.y ?? Number.NaN })),
      })),
      reference: chance,
    },
  ];
}

function comparisonCharts(events: readonly Event[]): Chart[] {
  const rounds = events.filter((event) => event.type === "comparisons");
  if (rounds.length === 0) return [];
  const timesteps = [
    ...new Set(rounds.flatMap(({ timesteps }) => timesteps.map(({ timestep }) => timestep))),
  ];
  const sums = timesteps.map((timestep) => {
    const at = rounds.flatMap(({ timesteps }) => timesteps.filter((entry) => entry.timestep === timestep));
    return {
      x: timestep,
      yield: mean(at.map(({ valid, pairs }) => valid / pairs)),
      margin: mean(at.map(({ margin }) => margin ?? Number.NaN)),
    };
  });
  const x = { label: "timestep of the judgement", reversed: true };
  return [
    {
      title: "Pair yield",
      caption: "Share of comparisons whose best and worst are far enough apart, round by round.",
      kind: "line",
      x: { label: "round" },
      y: { label: "share", share: true },
      series: [
        {
          name: "yield",
          tone: "spo",
          points: rounds.map(({ step, timesteps: all }) => ({
            x: step,
            y: mean(all.map(({ valid, pairs }) => valid / pairs)),
          })),
        },
      ],
    },
    {
      title: "Margins by timestep",
      caption: "Mean preference gap of best and worst candidate.",
      kind: "bar",
      x,
      y: { label: "margin" },
      series: [{ name: "margin", tone: "spo", points: sums.map(({ x, margin }) => ({ x, y: margin })) }],
    },
  ];
}

function stageWork(stage: string, events: readonly Event[]): StageWork {
  const phases: Record<string, { wall: number; cpu: number }> = {};
  const passes: Record<string, number> = {};
  for (const event of events) {
    for (const [name, { wall, cpu }] of Object.entries(event.time.phases ?? {})) {
      const sum = phases[name] ?? { wall: 0, cpu: 0 };
      phases[name] = { wall: sum.wall + wall, cpu: sum.cpu + cpu };
    }
    if (event.type !== "step") continue;
    for (const [pass, count] of Object.entries(event.passes ?? {}))
      passes[pass] = (passes[pass] ?? 0) + (count ?? 0);
  }
  return { stage, phases, passes };
}
