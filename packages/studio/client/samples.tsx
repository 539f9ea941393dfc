// Held-out samples over the training: one slider for all prompts, the base beside.
import { useMemo } from "preact/hooks";
import { type Action, Shortcuts } from "./actions.tsx";
import { setQuery } from "./route.ts";
import type { ViewProps } from "./run-view.tsx";

/** The place of the set that is shown: the newest one, unless the address says another. */
export const placeOf = (count: number, asked: string | null): number =>
  asked === null || !/^\d+$/.test(asked) ? count - 1 : Math.min(count - 1, Number(asked));

/** Samples of a run. */
export function Samples({ page: { run, samples }, query }: ViewProps) {
  const place = placeOf(samples.length, query.get("at"));
  const last = samples.length - 1;
  const actions = useMemo((): Action[] => {
    const to = (at: number) => () => setQuery({ at: String(Math.max(0, Math.min(last, at))) });
    return [
      { label: "Samples before", key: "ArrowLeft", run: to(place - 1) },
      { label: "Samples after", key: "ArrowRight", run: to(place + 1) },
      { label: "The base's samples", key: "Home", run: to(0) },
      { label: "The newest samples", key: "End", run: to(last) },
    ];
  }, [place, last]);
  const [base, shown] = [samples[0], samples[place]];
  if (!base || !shown) return <p class="panel">This run has drawn no samples yet.</p>;
  return (
    <>
      <div class="bar">
        <label class="slider">
          Step {shown.step}
          <input
            type="range"
            min={0}
            max={last}
            value={place}
            aria-valuetext={`step ${shown.step}`}
            onInput={(event) => setQuery({ at: event.currentTarget.value })}
          />
        </label>
        <a href={`/grids/${run.id}`}>As a grid</a>
        <span class="dim">
          {place + 1} of {samples.length}; the base on the left
        </span>
        {last > 0 && <a href={`/judge/${run.id}`}>Judge base and newest, blind</a>}
        <Shortcuts actions={actions} />
      </div>
      <div class="pairs">
        {shown.images.map(({ prompt, seed, src }, i) => (
          <figure key={`${i} ${prompt}`}>
            <div class="pair">
              <img src={base.images[i]?.src} alt={`${prompt}, by the base`} />
              <img src={src} alt={`${prompt}, at step ${shown.step}`} />
            </div>
            <figcaption>
              {prompt} <span class="dim">seed {seed}</span>
            </figcaption>
          </figure>
        ))}
      </div>
      {/* Those beside are loaded already when an arrow key asks for them. */}
      <div hidden>
        {[samples[place - 1], samples[place + 1]].flatMap((set) =>
          set?.images.map(({ src }) => <img key={src} src={src} alt="" />),
        )}
      </div>
    </>
  );
}
