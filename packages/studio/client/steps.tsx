// The step view: the candidates of each denoising step, their scores, which pair was taken and why, and which one went on.
import { useMemo, useState } from "preact/hooks";
import type { StepRow, StepView, TimestepMap } from "../src/api.ts";
import { type Action, Shortcuts } from "./actions.tsx";
import { FaultWords } from "./fault-words.tsx";
import { PairDialog, type Pictured } from "./pair-dialog.tsx";
import { useRemote } from "./remote.ts";
import { setQuery } from "./route.ts";
import type { ViewProps } from "./run-view.tsx";
import { placeOf } from "./samples.tsx";
import { TimestepHeat } from "./timestep-heat.tsx";
import { sharePercent, short } from "./words.ts";

/** Candidates of the rounds that a run kept, and what came of all rounds by timestep. */
export function Steps({ page: { run, strips, picturing }, query, version }: ViewProps) {
  const place = placeOf(strips.length, query.get("at"));
  const round = strips[place]?.round;
  const { value, fault } = useRemote<StepView>(
    round === undefined ? undefined : `/api/runs/${run.id}/steps/${round}`,
  );
  const { value: map } = useRemote<TimestepMap>(`/api/runs/${run.id}/timesteps`, version);
  const promptPlace = Math.min(
    Number(query.get("prompt") ?? 0) || 0,
    Math.max(0, (value?.prompts.length ?? 1) - 1),
  );
  const [opened, setOpened] = useState<StepRow>();
  const actions = useMemo((): Action[] => {
    const to = (at: number) => () => setQuery({ at: String(Math.max(0, Math.min(strips.length - 1, at))) });
    return [
      { label: "Round before", key: "ArrowLeft", run: to(place - 1) },
      { label: "Round after", key: "ArrowRight", run: to(place + 1) },
      {
        label: "Prompt after",
        key: "p",
        run: () => setQuery({ prompt: String((promptPlace + 1) % (value?.prompts.length || 1)) }),
      },
    ];
  }, [place, strips.length, promptPlace, value]);
  if (strips.length === 0 && (map?.rounds.length ?? 0) === 0)
    return (
      <p class="panel">This run keeps no candidates: only trainings by SPO draw several at each step.</p>
    );
  const shown = value?.prompts[promptPlace];
  return (
    <>
      {strips.length > 0 && (
        <div class="bar">
          <label class="slider">
            Round {(round ?? 0) + 1}
            <input
              type="range"
              min={0}
              max={strips.length - 1}
              value={place}
              aria-valuetext={`round ${(round ?? 0) + 1}`}
              onInput={(event) => setQuery({ at: event.currentTarget.value })}
            />
          </label>
          <label>
            Prompt{" "}
            <select
              value={String(promptPlace)}
              onChange={(event) => setQuery({ prompt: event.currentTarget.value })}
            >
              {(value?.prompts ?? []).map(({ prompt }, i) => (
                <option key={prompt} value={String(i)}>
                  {prompt}
                </option>
              ))}
            </select>
          </label>
          <Shortcuts actions={actions} />
          {picturing !== undefined && (
            <span class="dim">
              Keeping these pictures took {sharePercent(picturing)} of the training's time.
            </span>
          )}
        </div>
      )}
      {fault && <FaultWords fault={fault} />}
      {shown && (
        <section class="panel">
          <h2>
            {shown.prompt}, round {(round ?? 0) + 1}
          </h2>
          <p class="dim">
            {yieldWords(shown.rows)} From the noisiest step to the finished picture; each is what the model
            makes of the noise.
          </p>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by keyboard */}
          <section class="strips" aria-label="Candidates by timestep" tabIndex={0}>
            {shown.rows.map((row) => (
              <Row key={row.timestep} row={row} open={() => setOpened(row)} />
            ))}
          </section>
        </section>
      )}
      {map && map.rounds.length > 0 && <TimestepHeat map={map} />}
      {opened && <PairDialog {...picturesOf(opened)} close={() => setOpened(undefined)} />}
    </>
  );
}

/** How many rows gave a pair, and why others did not. */
export function yieldWords(rows: readonly StepRow[]): string {
  const without = rows.filter(({ valid }) => !valid);
  const reasons = [...new Set(without.map(({ why }) => why ?? ""))].map(
    (why) => `${without.filter((row) => row.why === why).length} ${why}`,
  );
  return `${rows.length - without.length} of ${rows.length} steps gave a pair${reasons.length > 0 ? ` (${reasons.join(", ")})` : ""}.`;
}

/** Best and worst of a row as two pictures. */
function picturesOf({ timestep, candidates, win, lose }: StepRow): {
  title: string;
  pictures: [Pictured, Pictured];
} {
  const of = (name: string, j: number): Pictured => ({
    name: `${name}, score ${short(candidates[j]?.score)}`,
    src: candidates[j]?.src ?? "",
  });
  return { title: `Best and worst at timestep ${timestep}`, pictures: [of("best", win), of("worst", lose)] };
}

function Row({ row, open }: { row: StepRow; open: () => void }) {
  const { timestep, candidates, win, lose, next, valid, margin, threshold, why } = row;
  return (
    <div class={`strip ${valid ? "" : "no-pair"}`}>
      <div class="strip-head">t {timestep}</div>
      {candidates.map(({ src, score }, j) => {
        const marks = [
          ...(why === "not finite" ? [] : [...(j === win ? ["best"] : []), ...(j === lose ? ["worst"] : [])]),
          ...(j === next ? ["goes on"] : []),
        ];
        return (
          <figure key={`${timestep} ${j + 1}`} class={marks.map((mark) => mark.replace(" ", "-")).join(" ")}>
            {src ? (
              <button type="button" class="picture" onClick={open}>
                <img
                  src={src}
                  alt={`candidate ${j + 1} at timestep ${timestep}${marks.length > 0 ? `, ${marks.join(", ")}` : ""}`}
                />
              </button>
            ) : (
              <div class="no-picture">no picture</div>
            )}
            <figcaption>
              {score === null ? "not finite" : short(score)}
              {marks.map((mark) => (
                <span key={mark} class={`mark ${mark.replace(" ", "-")}`}>
                  {mark}
                </span>
              ))}
            </figcaption>
          </figure>
        );
      })}
      <div class="strip-end">
        <div>{valid ? "a pair" : `no pair: ${why}`}</div>
        <div class="dim">
          margin {margin === undefined ? "not recorded" : short(margin)}
          {threshold !== undefined && <>, threshold {short(threshold)}</>}
        </div>
      </div>
    </div>
  );
}
