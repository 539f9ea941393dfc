// Timestep × round: a timestep that gives no pairs any more is seen at once.
import { useState } from "preact/hooks";
import type { TimestepCell, TimestepMap } from "../src/api.ts";
import { short } from "./words.ts";

const MEASURES = {
  "share of pairs": ({ pairs, valid }: TimestepCell) => (pairs > 0 ? valid / pairs : null),
  "mean margin": ({ margin }: TimestepCell) => margin,
  "spread of scores": ({ spread }: TimestepCell) => spread,
  "implicit accuracy": ({ accuracy }: TimestepCell) => accuracy,
  "|log ratio|": ({ logRatio }: TimestepCell) => logRatio,
  "not finite": ({ notFinite }: TimestepCell) => notFinite,
} as const;

type Measure = keyof typeof MEASURES;

/** Their colour goes up to 1, whatever the largest of them is. */
const SHARES: readonly Measure[] = ["share of pairs", "implicit accuracy"];

/** Rounds that fit a table; of more, so many evenly. */
const MOST_ROUNDS = 40;

/** Evenly chosen items, the first and the last among them. */
export const evenly = <T,>(items: readonly T[], most: number): T[] =>
  items.length <= most
    ? [...items]
    : Array.from({ length: most }, (_, i) => items[Math.round((i * (items.length - 1)) / (most - 1))] as T);

/** The map, by one of some measures. */
export function TimestepHeat({ map }: { map: TimestepMap }) {
  const [measure, setMeasure] = useState<Measure>("share of pairs");
  const rounds = evenly(map.rounds, MOST_ROUNDS);
  const values = rounds.map(({ cells }) => cells.map((cell) => (cell ? MEASURES[measure](cell) : null)));
  const most = Math.max(
    ...values.flat().map((value) => value ?? 0),
    SHARES.includes(measure) ? 1 : Number.MIN_VALUE,
  );
  return (
    <section class="panel">
      <h2>
        {rounds.length < map.rounds.length
          ? `${rounds.length} of ${map.rounds.length} rounds, by timestep`
          : "Every round, by timestep"}
      </h2>
      <div class="bar">
        <label>
          Shown{" "}
          <select value={measure} onChange={(event) => setMeasure(event.currentTarget.value as Measure)}>
            {Object.keys(MEASURES).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by keyboard */}
      <section class="heat-frame" aria-label={`${measure} by timestep and round`} tabIndex={0}>
        <table class="heat">
          <thead>
            <tr>
              <th scope="col">timestep</th>
              {rounds.map(({ round }) => (
                <th scope="col" key={round}>
                  {round}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {map.timesteps.map((timestep, row) => (
              <tr key={timestep}>
                <th scope="row">{timestep}</th>
                {values.map((cells, column) => {
                  const value = cells[row] ?? null;
                  return (
                    <td
                      key={rounds[column]?.round}
                      style={
                        value === null ? undefined : { "--heat": `${Math.round((100 * value) / most)}%` }
                      }
                      class={value === null ? "none" : value / most > 0.5 ? "strong" : ""}
                    >
                      {value === null ? "–" : short(Number(value.toPrecision(2)))}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </section>
  );
}
