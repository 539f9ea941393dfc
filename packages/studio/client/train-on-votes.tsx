import { useState } from "preact/hooks";
import type { Fault, QueuedJob, RunList, RunPage, RunSummary, VotesTraining } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { JobItem } from "./job-item.tsx";
import { BaseAndNewest } from "./overview.tsx";
import { tell, useRemote, useTicks } from "./remote.ts";
import { StateBadge } from "./run-list.tsx";

const REFRESH_MS = 2000;

/** What the next training begins with, in a sentence. votes: how many there are now. */
export function beginningWords({ from, jobs }: VotesTraining, votes: number, anew: boolean): string {
  if (from === undefined || anew)
    return "First a preference model learns all votes, then the base model learns to please it.";
  const before = jobs.find(({ run }) => run === from)?.votes;
  const since = before === undefined ? "" : `, which learned from ${before} of the ${votes} votes,`;
  return `First a preference model learns all votes anew, then the model of ${from}${since} goes on and learns to please it.`;
}

/** The two runs of a training on votes, in their order; those that have not begun are left out. */
export function runsOf(job: Pick<QueuedJob, "run">, runs: readonly RunSummary[]): RunSummary[] {
  return ["spm", "spo"].flatMap((part) => runs.find(({ name }) => name === `${job.run}/${part}`) ?? []);
}

/** From votes to a model by one button; later votes go on from there. */
export function TrainOnVotes({
  id,
  training,
  votes,
  onStart,
}: {
  id: string;
  training: VotesTraining;
  votes: number;
  onStart: () => void;
}) {
  const [anew, setAnew] = useState(false);
  const [fault, setFault] = useState<Fault>();
  const start = (): void => {
    setFault(undefined);
    tell<QueuedJob>("POST", `/api/judging/${id}/train`, { anew }).then(onStart, setFault);
  };
  const { next, from, jobs } = training;
  const newest = jobs.at(-1);
  return (
    <>
      {newest && <WhatItLearns key={newest.id} job={newest} />}
      <section class="panel">
        <h2>Train on these votes</h2>
        <p>{beginningWords(training, votes, anew)}</p>
        {from !== undefined && (
          <p>
            <label>
              <input
                type="checkbox"
                checked={anew}
                onChange={(event) => setAnew(event.currentTarget.checked)}
              />{" "}
              Begin with the base model instead
            </label>
          </p>
        )}
        <button type="button" disabled={votes === 0} onClick={start}>
          Train {next}
        </button>
        {fault && <FaultWords fault={fault} />}
        <ul class="queue" aria-live="polite">
          {jobs.toReversed().map((job) => (
            <JobItem key={job.id} job={job} />
          ))}
        </ul>
      </section>
    </>
  );
}

/** How far the newest training is, and what its model draws beside the base. */
function WhatItLearns({ job }: { job: QueuedJob }) {
  const ticks = useTicks(REFRESH_MS);
  const { value: list } = useRemote<RunList>("/api/runs", ticks);
  const runs = runsOf(job, list?.runs ?? []);
  const policy = runs.find(({ kind }) => kind === "train spo");
  const { value: page } = useRemote<RunPage>(policy && `/api/runs/${policy.id}/page`, ticks);
  const [base, newest] = [page?.samples[0], page?.samples.at(-1)];
  return (
    <>
      {runs.length > 0 && (
        <section class="panel" aria-label={`Training ${job.run}`}>
          {runs.map(({ id, kind, state, step, total }) => (
            <p key={id}>
              <a href={`/runs/${id}`}>{kind === "train spm" ? "Preference model" : "Diffusion model"}</a>{" "}
              <StateBadge state={state} />{" "}
              {total > 0 && (
                <>
                  <progress value={step} max={total} aria-label={kind} /> {step} of {total}
                </>
              )}
            </p>
          ))}
        </section>
      )}
      {policy && base && newest && base !== newest && (
        <BaseAndNewest base={base} newest={newest} id={policy.id} />
      )}
    </>
  );
}
