// One metric of some runs as curves.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { alignedData, type Curve, described, tickLabels } from "./chart-data.ts";

const HEIGHT = 240;
/** Hues by which runs are told apart, also by most who see few colours. */
const COLOURS = ["--curve-1", "--curve-2", "--curve-3", "--curve-4", "--curve-5", "--curve-6"];

/** The colour of the i-th run. */
export const colourOf = (i: number): string => COLOURS[i % COLOURS.length] as string;

/** A chart that follows its data and its width. */
export function Chart({
  title,
  xLabel,
  curves,
  log,
}: {
  title: string;
  xLabel: string;
  curves: readonly Curve[];
  log: boolean;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  const shape = `${curves.map(({ name, smooth }) => `${name} ${smooth !== undefined}`).join("|")} ${log}`;
  const data = alignedData(curves, log);
  useEffect(() => {
    const at = frame.current as HTMLDivElement;
    const made = new uPlot(optionsOf(at, { title, xLabel, curves, log }), data, at);
    chart.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: at.clientWidth, height: HEIGHT }));
    resized.observe(at);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const redraw = (): void => made.redraw();
    scheme.addEventListener("change", redraw);
    return () => {
      scheme.removeEventListener("change", redraw);
      resized.disconnect();
      made.destroy();
    };
  }, [shape, title]);
  useEffect(() => chart.current?.setData(data), [data]);
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div ref={frame} role="img" aria-label={described(title, curves)} />
    </figure>
  );
}

function optionsOf(
  frame: HTMLElement,
  { xLabel, curves, log }: { title: string; xLabel: string; curves: readonly Curve[]; log: boolean },
): uPlot.Options {
  const colour = (name: string) => (): string => getComputedStyle(frame).getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--ink"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: frame.clientWidth,
    height: HEIGHT,
    scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
    axes: [
      { ...axis, label: xLabel, labelSize: 18, labelGap: 0, size: 30 },
      {
        ...axis,
        size: widest,
        values: (_, splits) => tickLabels(splits),
      },
    ],
    series: [
      { label: xLabel },
      ...curves.flatMap(({ name, smooth }, i): uPlot.Series[] => {
        const stroke = colour(colourOf(i));
        const points: uPlot.Series = { label: name, stroke, width: 1.5, spanGaps: false };
        return smooth
          ? [
              { ...points, alpha: 0.25, width: 1 },
              { ...points, label: `${name}, smoothed`, width: 2 },
            ]
          : [points];
      }),
    ],
    legend: { show: curves.length > 1, live: true },
    cursor: { sync: { key: "studio" } },
  };
}

/** Room for the longest label, so that none is cut off. */
const widest: uPlot.Axis.Size = (_, values) =>
  20 + 7.5 * Math.max(4, ...(values ?? []).map((text) => text?.length ?? 0));
