// Held-out samples over the training: one slider for all prompts, the base beside, and another run's at the same step.
import { useMemo } from "preact/hooks";
import type { RunPage, SampleSet } from "../src/api.ts";
import { type Action, Shortcuts } from "./actions.tsx";
import { BesideRun, useRuns } from "./beside-run.tsx";
import { FaultWords } from "./fault-words.tsx";
import { useRemote } from "./remote.ts";
import { setQuery } from "./route.ts";
import type { ViewProps } from "./run-view.tsx";
import { short } from "./words.ts";

type Sample = SampleSet["images"][number];

/** The place of the set that is shown: the newest one, unless the address says another. */
export const placeOf = (count: number, asked: string | null): number =>
  asked === null || !/^\d+$/.test(asked) ? count - 1 : Math.min(count - 1, Number(asked));

/** The set that another run had drawn by a step: its newest until then. */
export const setAt = (sets: readonly SampleSet[], step: number): SampleSet | undefined =>
  sets.findLast((set) => set.step <= step) ?? sets[0];

/** Samples of a run. */
export function Samples({ page: { run, samples }, query, version }: ViewProps) {
  const runs = useRuns();
  const other = query.get("with") ?? "";
  const beside = useRemote<RunPage>(
    other ? `/api/runs/${encodeURIComponent(other)}/page` : undefined,
    version,
  );
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
  if (!base || !shown)
    return (
      <p class="panel">
        {run.kind === "train spm"
          ? "A preference model draws no images: the curves show what it tells apart."
          : "This run has drawn no samples yet."}
      </p>
    );
  const theirs = beside.value && setAt(beside.value.samples, shown.step);
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
          {theirs && `, ${beside.value?.run.name} at step ${theirs.step} on the right`}
        </span>
        <BesideRun
          runs={runs.filter(({ id, kind }) => id !== run.id && kind.startsWith("train "))}
          chosen={other}
          choose={(id) => setQuery({ with: id || undefined })}
        />
        {last > 0 && <a href={`/judge/${run.id}`}>Judge base and newest, blind</a>}
        <Shortcuts actions={actions} />
      </div>
      {beside.fault && <FaultWords fault={beside.fault} />}
      <div class={theirs ? "pairs wide" : "pairs"}>
        {shown.images.map((image, i) => {
          const { prompt, seed } = image;
          const others = theirs?.images.find((each) => each.prompt === prompt && each.seed === seed);
          return (
            <figure key={`${i} ${prompt}`}>
              <div class="pair">
                <Picture image={base.images[i]} by="by the base" />
                <Picture image={image} by={`at step ${shown.step}`} />
                {theirs && (
                  <Picture image={others} by={`by ${beside.value?.run.name} at step ${theirs.step}`} />
                )}
              </div>
              <figcaption>
                {prompt} <span class="dim">seed {seed}</span>
              </figcaption>
            </figure>
          );
        })}
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

/** A sample and the judge's score of it. */
const Picture = ({ image, by }: { image?: Sample; by: string }) =>
  image ? (
    <div>
      <img src={image.src} alt={`${image.prompt}, ${by}`} />
      {image.score !== undefined && <div class="dim">score {short(image.score)}</div>}
    </div>
  ) : (
    <div class="no-picture">not drawn</div>
  );
