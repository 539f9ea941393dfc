// What the events of a training show as charts. No tensor code.
import type { Event } from "../index.js";
import { mean } from "../statistics.js";
import type { Axis, Chart, Point, Series } from "./charts.js";
import type { StageWork } from "./data.js";

type Curve = Pick<Series, "name" | "tone"> & { key: string };

/** A line over the updates of a training, one series a metric. */
export function updateChart(
  events: readonly Event[],
  {
    title,
    caption,
    y,
    curves,
    reference,
  }: Pick<Chart, "title" | "caption" | "y" | "reference"> & { curves: readonly Curve[] },
): Chart {
  const updates = events.filter((event) => event.type === "step");
  return {
    title,
    caption,
    kind: "line",
    x: { label: "update" },
    y,
    reference,
    series: curves.map(({ key, ...series }) => ({
      ...series,
      noisy: true,
      points: updates.map(({ metrics }, i) => ({ x: i + 1, y: metrics[key] ?? Number.NaN })),
    })),
  };
}

/** Loss, ratios and clipping by update; pairs and margins by round and timestep; the samples' standing to the base. */
export function spoCharts(events: readonly Event[]): Chart[] {
  return [
    updateChart(events, {
      title: "Loss",
      caption: "ln 2 is where nothing is preferred.",
      y: { label: "loss" },
      curves: [{ name: "loss", tone: "spo", key: "loss" }],
      reference: { y: Math.LN2, label: "ln 2" },
    }),
    updateChart(events, {
      title: "Likelihood ratios",
      caption:
        "How much likelier a step has become than under the base: of winners it should be larger than of losers.",
      y: { label: "ratio" },
      curves: [
        { name: "winners", tone: "win", key: "ratioWin" },
        { name: "losers", tone: "lose", key: "ratioLose" },
      ],
      reference: { y: 1, label: "as the base" },
    }),
    updateChart(events, {
      title: "Win over lose",
      caption:
        "Share of pairs whose winner has become likelier than its loser; and share of sides whose ratio is clipped.",
      y: { label: "share", share: true },
      curves: [
        { name: "win over lose", tone: "spo", key: "accuracy" },
        { name: "clipped", tone: "third", key: "clipped" },
      ],
      reference: { y: 0.5, label: "chance" },
    }),
    ...comparisonCharts(events),
  ];
}

/** How far the model has moved from the base, on samples from fixed noise. */
export function standingCharts(events: readonly Event[]): Chart[] {
  const evals = events.filter((event) => event.type === "eval");
  const line = (title: string, caption: string, y: Axis, key: string): Chart => ({
    title,
    caption,
    kind: "line",
    x: { label: "round" },
    y,
    series: [
      {
        name: title,
        tone: "spo",
        points: evals.map(({ step, metrics }) => ({ x: step, y: metrics[key] ?? Number.NaN })),
      },
    ],
  });
  const known = (key: string): boolean => evals.some(({ metrics }) => typeof metrics[key] === "number");
  return [
    ...(known("score")
      ? [
          line(
            "Judge's score of the samples",
            "Mean over the sampled prompts; what SPO optimises.",
            { label: "score" },
            "score",
          ),
        ]
      : []),
    ...(known("drift")
      ? [
          line(
            "Drift",
            "Mean squared difference of guided predictions from the base's, on the base's samples noised to five timesteps.",
            { label: "drift" },
            "drift",
          ),
          line(
            "Distance of the samples",
            "Mean squared distance of the samples' latents from the base's, from the same noise.",
            { label: "distance" },
            "distance",
          ),
        ]
      : []),
  ];
}

/** What the guards see: held-out scores beside the training's own, norms by timestep, diversity, and how the samples' looks move. */
export function guardCharts(events: readonly Event[]): Chart[] {
  const evals = events.filter((event) => event.type === "eval");
  const keys = [...new Set(evals.flatMap(({ metrics }) => Object.keys(metrics)))];
  const pointsOf = (key: string): Point[] =>
    evals.flatMap(({ step, metrics }) =>
      key in metrics ? [{ x: step, y: metrics[key] ?? Number.NaN }] : [],
    );
  const x = { label: "round or step" };
  const line = (
    rest: Pick<Chart, "title" | "caption" | "y" | "reference">,
    series: readonly [key: string, name: string, tone: Series["tone"]][],
  ): Chart[] => {
    const known = series.filter(([key]) => keys.includes(key));
    if (known.length === 0) return [];
    return [
      {
        ...rest,
        kind: "line",
        x,
        series: known.map(([key, name, tone]) => ({ name, tone, points: pointsOf(key) })),
      },
    ];
  };
  const norms = keys.filter((key) => key.startsWith(NORM));
  const byTimestep = ({ metrics }: (typeof evals)[number]): Point[] =>
    norms.map((key) => ({ x: Number(key.slice(NORM.length)), y: metrics[key] ?? Number.NaN }));
  const last = evals.findLast(({ metrics }) => norms.some((key) => key in metrics));
  return [
    ...line(
      {
        title: "Held-out scores together",
        caption:
          "By scorers that train nothing: the mean change from the base, in standard deviations of the base's samples.",
        y: { label: "standard deviations" },
        reference: { y: 0, label: "as the base" },
      },
      [["heldOut", "held-out scores", "third"]],
    ),
    ...keys
      .filter((key) => key.startsWith(HELD_OUT))
      .flatMap((key) =>
        line(
          {
            title: `Held-out score ${key.slice(HELD_OUT.length)}`,
            caption: "Mean over the samples.",
            y: { label: "score" },
          },
          [[key, key.slice(HELD_OUT.length), "third"]],
        ),
      ),
    ...(last
      ? [
          {
            title: "Norm of the predictions",
            caption:
              "Over the base's, at the last measurement. Above 1 preference training has inflated them.",
            kind: "line" as const,
            x: { label: "timestep", reversed: true },
            y: { label: "ratio" },
            series: [{ name: `at ${last.step}`, tone: "spo" as const, points: byTimestep(last) }],
            reference: { y: 1, label: "as the base" },
          },
        ]
      : []),
    ...line(
      {
        title: "Looks of the samples",
        caption: "Over the base's: how far pixels are from grey, the contrast of an image, its fine detail.",
        y: { label: "ratio" },
        reference: { y: 1, label: "as the base" },
      },
      [
        ["saturation", "saturation", "spo"],
        ["contrast", "contrast", "third"],
        ["highFrequency", "fine detail", "lose"],
      ],
    ),
    ...line(
      {
        title: "Diversity",
        caption: "Mean distance between two samples of one prompt. Where it falls, they become one picture.",
        y: { label: "distance" },
      },
      [["diversity", "diversity", "spo"]],
    ),
  ];
}

const NORM = "norm/t=";
const HELD_OUT = "heldOut/";

/** Loss and implicit accuracy of Diffusion-DPO on held-out pairs, at fixed noise. */
export function heldOutCharts(events: readonly Event[]): Chart[] {
  const evals = events.filter((event) => event.type === "eval");
  const chart = (
    key: "loss" | "accuracy",
    rest: Pick<Chart, "title" | "caption" | "y" | "reference">,
  ): Chart[] => {
    const points = evals.flatMap(({ step, metrics }) =>
      typeof metrics[key] === "number" ? [{ x: step, y: metrics[key] }] : [],
    );
    if (points.length === 0) return [];
    const x = { label: "update" };
    return [{ ...rest, kind: "line", x, series: [{ name: key, tone: "third", points }] }];
  };
  return [
    ...chart("loss", {
      title: "Loss on held-out pairs",
      caption: "Below ln 2 the policy has moved to the winners of pairs that it never saw.",
      y: { label: "loss" },
      reference: { y: Math.LN2, label: "ln 2" },
    }),
    ...chart("accuracy", {
      title: "Implicit accuracy on held-out pairs",
      caption:
        "Share of pairs whose winner has gained more than its loser. Before the first update nothing has.",
      y: { label: "accuracy", share: true },
      reference: { y: 0.5, label: "chance" },
    }),
  ];
}

/** A preference model's accuracy on held-out pairs. */
export function accuracyCharts(events: readonly Event[]): Chart[] {
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
        {
          name: first.step === 0 ? "untrained" : `step ${first.step}`,
          tone: "base",
          points: byTimestep(first),
        },
        // The first measurement alone is of no training.
        ...(last.step > first.step
          ? [{ name: `step ${last.step}`, tone: "spo", points: byTimestep(last) } as const]
          : []),
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
  const meanAt = (
    timestep: number,
    of: (entry: (typeof rounds)[number]["timesteps"][number]) => number,
  ): number =>
    finiteMean(
      rounds.flatMap((round) => round.timesteps.filter((entry) => entry.timestep === timestep).map(of)),
    );
  const byTimestep = (of: (entry: (typeof rounds)[number]["timesteps"][number]) => number): Point[] =>
    timesteps.map((timestep) => ({ x: timestep, y: meanAt(timestep, of) }));
  const x = { label: "timestep of the judgement", reversed: true };
  const share = { label: "share", share: true };
  return [
    {
      title: "Pair yield",
      caption: "Share of comparisons whose best and worst are far enough apart, round by round.",
      kind: "line",
      x: { label: "round" },
      y: share,
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
      series: [{ name: "margin", tone: "spo", points: byTimestep(({ margin }) => margin ?? Number.NaN) }],
    },
    {
      title: "Pair yield by timestep",
      caption:
        "Share of comparisons at each timestep that gave a pair: where in the image's making it is learned.",
      kind: "bar",
      x,
      y: share,
      series: [{ name: "yield", tone: "third", points: byTimestep(({ valid, pairs }) => valid / pairs) }],
    },
  ];
}

function finiteMean(values: readonly number[]): number {
  const known = values.filter(Number.isFinite);
  return known.length > 0 ? mean(known) : Number.NaN;
}

/** What a run spent, all its updates together. */
export function stageWork(stage: string, events: readonly Event[]): StageWork {
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
