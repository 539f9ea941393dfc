import type { SampleSet } from "../src/api.ts";
import { RewardHacking } from "./reward-hacking.tsx";
import type { ViewProps } from "./run-view.tsx";
import { Exports, NotesPanel } from "./steering.tsx";
import { duration, short, size, when } from "./words.ts";

/** Prompts that are shown first. */
const PROMPTS = 6;

/** Pictures first, then figures. */
export function Overview({ page, version }: ViewProps) {
  const { run, samples, perStep, memory, elapsed, left, warnings, checkpoints, data, engine } = page;
  const [base, newest] = [samples[0], samples.at(-1)];
  const facts: [string, string][] = [
    ["Step", run.total > 0 ? `${run.step} of ${run.total}` : String(run.step)],
    ["Worked", duration(elapsed)],
    ...(left === undefined ? [] : [["Time left", duration(left)] as [string, string]]),
    ...(memory ? [["Memory", `${size(memory.now)}, at most ${size(memory.most)}`] as [string, string]] : []),
    ["Begun", when(run.began)],
    ["Newest event", when(run.changed)],
    ["Checkpoints", checkpoints.join(", ") || "none"],
    ...Object.entries(data).map(([key, value]): [string, string] => [key, String(value)]),
    ...Object.entries(engine),
  ];
  return (
    <>
      {base && newest && base !== newest && <BaseAndNewest base={base} newest={newest} id={run.id} />}
      {warnings.length > 0 && (
        <section class="panel">
          <h2>Warnings</h2>
          <ul>
            {warnings.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </section>
      )}
      {run.kind !== "train spm" && page.metrics.eval.length > 0 && (
        <RewardHacking page={page} version={version} />
      )}
      {page.exports.length > 0 && <Exports key={run.id} page={page} />}
      <section class="panel">
        <h2>Figures</h2>
        <dl class="facts">
          {facts.map(([what, value]) => (
            <div key={what}>
              <dt>{what}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      </section>
      {perStep.length > 0 && (
        <section class="panel">
          <h2>Seconds of a step</h2>
          <dl class="facts">
            {perStep.map(({ part, seconds }) => (
              <div key={part}>
                <dt>{part === "step" ? "the whole step" : part}</dt>
                <dd>{short(seconds)}</dd>
              </div>
            ))}
          </dl>
        </section>
      )}
      {page.perRank.length > 1 && (
        <section class="panel">
          <h2>Seconds that each process computes of a step</h2>
          <p>{rankWords(page.perRank)}</p>
          <dl class="facts">
            {page.perRank.map((seconds, rank) => (
              <div key={rank}>
                <dt>process {rank}</dt>
                <dd>{short(seconds)}</dd>
              </div>
            ))}
          </dl>
        </section>
      )}
      <NotesPanel key={run.id} page={page} />
    </>
  );
}

/** Which process makes the others wait, in a sentence. seconds: that each computes of a step, by rank. */
export function rankWords(seconds: readonly number[]): string {
  const slowest = seconds.indexOf(Math.max(...seconds));
  const others = seconds.filter((_, rank) => rank !== slowest).reduce((sum, of) => sum + of, 0);
  const more = (seconds[slowest] as number) / (others / (seconds.length - 1)) - 1;
  return `Process ${slowest} computes longest, ${Math.round(100 * more)} % more than the others in the mean, which wait for it.`;
}

/** Pictures of the same prompts and noise. */
export const BaseAndNewest = ({ base, newest, id }: { base: SampleSet; newest: SampleSet; id: string }) => (
  <section class="panel">
    <h2>
      Base beside step {newest.step} · <a href={`/runs/${id}/samples`}>all samples</a>
    </h2>
    <div class="pairs">
      {newest.images.slice(0, PROMPTS).map(({ prompt, src }, i) => (
        <figure key={`${i} ${prompt}`}>
          <div class="pair">
            {base.images[i] && <img src={base.images[i].src} alt={`${prompt}, by the base`} />}
            <img src={src} alt={`${prompt}, at step ${newest.step}`} />
          </div>
          <figcaption>{prompt}</figcaption>
        </figure>
      ))}
    </div>
  </section>
);
