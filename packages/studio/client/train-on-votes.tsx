import { useState } from "preact/hooks";
import type { Fault, StartedTraining } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { tell } from "./remote.ts";

/** From votes to a model by one button. */
export function TrainOnVotes({ id }: { id: string }) {
  const [started, setStarted] = useState<StartedTraining>();
  const [fault, setFault] = useState<Fault>();
  const start = (): void => {
    setFault(undefined);
    tell<StartedTraining>("POST", `/api/judging/${id}/train`, {}).then(setStarted, setFault);
  };
  return (
    <section class="panel">
      <h2>Train on these votes</h2>
      <p>First a preference model learns the votes, then the diffusion model learns to please it.</p>
      <button type="button" onClick={start}>
        Train
      </button>
      {started && (
        <p role="status">
          Started: <a href={`/?q=${encodeURIComponent(started.name)}`}>{started.name}</a> is in the list of
          runs in a moment.
        </p>
      )}
      {fault && <FaultWords fault={fault} />}
    </section>
  );
}
