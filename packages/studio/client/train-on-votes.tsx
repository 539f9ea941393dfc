import { useState } from "preact/hooks";
import type { Fault, QueuedJob, VotesTraining } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { JobItem } from "./job-item.tsx";
import { tell } from "./remote.ts";

/** What the next training begins with, in a sentence. votes: how many there are now. */
export function beginningWords({ from, jobs }: VotesTraining, votes: number, anew: boolean): string {
  if (from === undefined || anew)
    return "First a preference model learns all votes, then the base model learns to please it.";
  const before = jobs.find(({ run }) => run === from)?.votes;
  const since = before === undefined ? "" : `, which learned from ${before} of the ${votes} votes,`;
  return `First a preference model learns all votes anew, then the model of ${from}${since} goes on and learns to please it.`;
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
  return (
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
  );
}
