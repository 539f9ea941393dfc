// Whether a training pleases its judge at the cost of what the judge does not see.
import type { MetricSeries, SeriesAnswer } from "../src/api.ts";
import { useRemote } from "./remote.ts";
import type { ViewProps } from "./run-view.tsx";
import { short } from "./words.ts";

/** Of the base's diversity: below it the images of a prompt have become alike, unless the run's settings say another share. */
const LEAST_DIVERSITY = 0.8;
const HELD_OUT = "heldOut/";
const NORM = "norm/";

/** What a measure of the samples went from, which is the base's, and to. */
export interface Moved {
  key: string;
  name: string;
  from: number;
  to: number;
}

/** The judge's score, the scores of scorers that do not train, then what reward hacking shows first in the images. */
export function movedMeasures(series: readonly MetricSeries[]): Moved[] {
  const all = series.flatMap(({ key, y }): Moved[] => {
    const known = y.filter((value) => value !== null);
    const [from, to] = [known[0], known.at(-1)];
    const name = nameOf(key);
    return name && known.length > 1 && from !== undefined && to !== undefined
      ? [{ key, name, from, to }]
      : [];
  });
  const having = (prefix: string): Moved[] => all.filter(({ key }) => key.startsWith(prefix));
  // Of the timesteps the one that is furthest from the base.
  const [norm] = having(NORM).sort((a, b) => Math.abs(Math.log(b.to)) - Math.abs(Math.log(a.to)));
  const looks = ["diversity", "saturation", "contrast", "highFrequency"].flatMap(having);
  return [...having("score"), ...having(HELD_OUT), ...looks, ...(norm ? [norm] : [])];
}

function nameOf(key: string): string | undefined {
  if (key.startsWith(HELD_OUT)) return `score by ${key.slice(HELD_OUT.length)}, which does not train`;
  if (key.startsWith(NORM)) return `norm of predictions at ${key.slice(NORM.length)}, of the base's`;
  return {
    score: "score by the training's judge",
    diversity: "diversity of a prompt's images",
    saturation: "saturation, of the base's",
    contrast: "contrast, of the base's",
    highFrequency: "fine detail, of the base's",
  }[key];
}

/** What speaks for reward hacking, in sentences. leastDiversity: share of the base's. */
export function signsOfHacking(moved: readonly Moved[], leastDiversity = LEAST_DIVERSITY): string[] {
  const score = moved.find(({ key }) => key === "score");
  const diversity = moved.find(({ key }) => key === "diversity");
  const fallen = moved.filter(({ key, from, to }) => key.startsWith(HELD_OUT) && to < from);
  return [
    ...(score && score.to > score.from
      ? fallen.map(
          ({ key }) => `The judge's score has risen, and that by ${key.slice(HELD_OUT.length)} has fallen.`,
        )
      : []),
    ...(diversity && diversity.to < leastDiversity * diversity.from
      ? [
          `The images of a prompt have become alike: ${Math.round((100 * diversity.to) / diversity.from)} % of the base's diversity.`,
        ]
      : []),
  ];
}

/** What the held-out samples say beside the judge's score; nothing before a second measurement. */
export function RewardHacking({ page: { run, config }, version }: Pick<ViewProps, "page" | "version">) {
  const { value } = useRemote<SeriesAnswer>(`/api/runs/${run.id}/series?of=eval&points=20000`, version);
  const moved = movedMeasures(value?.series ?? []);
  if (moved.length === 0) return null;
  const { minDiversity } = (config.guards ?? {}) as { minDiversity?: number | null };
  const signs = signsOfHacking(moved, minDiversity ?? undefined);
  const has = (prefix: string): boolean => moved.some(({ key }) => key.startsWith(prefix));
  return (
    <section class="panel scrolls">
      <h2>Reward hacking</h2>
      {signs.length === 0 ? (
        <p>
          {has(HELD_OUT) || has("diversity")
            ? "No sign of it so far."
            : "Nothing is measured that would show it."}
        </p>
      ) : (
        signs.map((sign) => (
          <p key={sign} class="fault" role="status">
            {sign}
          </p>
        ))
      )}
      <table>
        <thead>
          <tr>
            <th scope="col">Of held-out samples</th>
            <th scope="col" class="number">
              Base
            </th>
            <th scope="col" class="number">
              Newest
            </th>
          </tr>
        </thead>
        <tbody>
          {moved.map(({ key, name, from, to }) => (
            <tr key={key}>
              <th scope="row">{name}</th>
              <td class="number">{short(from)}</td>
              <td class="number">{short(to)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {!has(HELD_OUT) && (
        <p class="dim">
          {has("score") ? "Only the training's own judge scores" : "Nothing scores"} these samples:{" "}
          <code>guards.heldOutScorers</code> has others do so.
        </p>
      )}
    </section>
  );
}
