// All metrics of a run, and of others beside it.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Fault, SeriesAnswer } from "../src/api.ts";
import { BesideRun, useRuns } from "./beside-run.tsx";
import { Chart, colourOf } from "./chart.tsx";
import { FaultWords } from "./fault-words.tsx";
import { ask } from "./remote.ts";
import { setQuery } from "./route.ts";
import type { ViewProps } from "./run-view.tsx";

/** Runs in one chart. */
const MOST_RUNS = 6;
const SMOOTHING = [0, 0.6, 0.9, 0.97, 0.99];

/** Curves of updates and of measurements. */
export function Curves({ page: { run, metrics }, query, version }: ViewProps) {
  const [log, smoothing] = [query.get("log") === "1", Number(query.get("smoothing") ?? "0.9")];
  const others = useMemo(() => (query.get("with") ?? "").split(",").filter(Boolean), [query.get("with")]);
  const runs = useRuns();
  const nameOf = (id: string): string => runs.find((each) => each.id === id)?.name ?? id;
  const ids = [run.id, ...others].slice(0, MOST_RUNS);
  const updates = useSeries(ids, `of=step&smoothing=${smoothing}`, version);
  const evals = useSeries(ids, "of=eval", version);
  const curvesOf = (found: Record<string, SeriesAnswer>, key: string) =>
    ids.flatMap((id) => {
      const series = found[id]?.series.find((each) => each.key === key);
      return series
        ? [{ name: id === run.id ? run.name : nameOf(id), x: series.x, y: series.y, smooth: series.smooth }]
        : [];
    });
  return (
    <>
      <div class="bar">
        <label>
          <input type="checkbox" checked={log} onChange={() => setQuery({ log: log ? undefined : "1" })} />{" "}
          Logarithmic
        </label>
        <label>
          Smoothing{" "}
          <select
            value={String(smoothing)}
            onChange={(event) => setQuery({ smoothing: event.currentTarget.value })}
          >
            {SMOOTHING.map((value) => (
              <option key={value} value={String(value)}>
                {value === 0 ? "none" : value}
              </option>
            ))}
          </select>
        </label>
        <BesideRun
          runs={runs.filter(({ id, kind }) => kind === run.kind && !ids.includes(id))}
          disabled={ids.length === MOST_RUNS}
          choose={(id) => setQuery({ with: [...others, id].join(",") })}
        />
      </div>
      {others.length > 0 && (
        <ul class="chips" aria-label="Runs in the charts">
          {ids.map((id, i) => (
            <li key={id}>
              <span class="swatch" style={{ background: `var(${colourOf(i)})` }} />{" "}
              {id === run.id ? run.name : nameOf(id)}{" "}
              {id !== run.id && (
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Take ${nameOf(id)} away`}
                  onClick={() =>
                    setQuery({ with: others.filter((other) => other !== id).join(",") || undefined })
                  }
                >
                  ×
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      {updates.fault && <FaultWords fault={updates.fault} />}
      {metrics.eval.length > 0 && (
        <section class="panel">
          <h2>Measured on held-out prompts or pairs</h2>
          <div class="charts">
            {metrics.eval.map((key) => (
              <Chart key={key} title={key} xLabel="step" log={log} curves={curvesOf(evals.found, key)} />
            ))}
          </div>
        </section>
      )}
      <section class="panel">
        <h2>Update by update</h2>
        {metrics.step.length === 0 && <p>No update has been made yet.</p>}
        <div class="charts">
          {metrics.step.map((key) => (
            <Chart key={key} title={key} xLabel="update" log={log} curves={curvesOf(updates.found, key)} />
          ))}
        </div>
      </section>
    </>
  );
}

/** The series of some runs; those of before stay while new ones are asked for. */
function useSeries(ids: readonly string[], query: string, version: number) {
  const [state, setState] = useState<{ found: Record<string, SeriesAnswer>; fault?: Fault }>({ found: {} });
  const key = ids.join(",");
  useEffect(() => {
    const stop = new AbortController();
    Promise.all(
      key
        .split(",")
        .map(async (id) => [id, await ask<SeriesAnswer>(`/api/runs/${id}/series?${query}`, stop.signal)]),
    ).then(
      (entries) => setState({ found: Object.fromEntries(entries) }),
      (fault: Fault) => {
        if (!stop.signal.aborted) setState((before) => ({ ...before, fault }));
      },
    );
    return () => stop.abort();
  }, [key, query, version]);
  return state;
}
