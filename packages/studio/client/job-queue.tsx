// The queue as the page shows and changes it.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Fault, QueuedJob } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { JobItem } from "./job-item.tsx";
import { tell } from "./remote.ts";

/** Jobs as they are shown: those at work, those that wait in the order in which they start, then those that ended, the newest first. */
export function inTurn(jobs: readonly QueuedJob[]): QueuedJob[] {
  const of = (...states: string[]): QueuedJob[] => jobs.filter(({ state }) => states.includes(state));
  return [...of("running"), ...of("waiting"), ...of("ended", "failed", "cancelled").reverse()];
}

/** The list of jobs; those that wait can be moved and taken out. onChange: it is to be asked for again. */
export function JobQueue({ jobs, onChange }: { jobs: readonly QueuedJob[]; onChange: () => void }) {
  const [fault, setFault] = useState<Fault>();
  const [said, setSaid] = useState("");
  const list = useRef<HTMLUListElement>(null);
  /** The button that was pressed: what stands elsewhere in the page loses the focus. */
  const pressed = useRef<{ id: string; name: string }>(undefined);
  const waiting = jobs.filter(({ state }) => state === "waiting").map(({ id }) => id);
  const order = waiting.join();
  useLayoutEffect(() => {
    const { id, name } = pressed.current ?? {};
    pressed.current = undefined;
    const buttons = [...(list.current?.querySelectorAll<HTMLButtonElement>(`#job-${id} button`) ?? [])];
    (
      buttons.find((each) => each.name === name && !each.disabled) ?? buttons.find((each) => !each.disabled)
    )?.focus();
  }, [order]);
  const change = (path: string, body: object, words: string): void => {
    setFault(undefined);
    tell("POST", `/api/jobs/${path}`, body).then(() => {
      setSaid(words);
      onChange();
    }, setFault);
  };
  const move = ({ id, run }: QueuedJob, name: "earlier" | "later"): void => {
    const to = waiting.indexOf(id) + (name === "earlier" ? -1 : 1);
    pressed.current = { id, name };
    change(`${id}/move`, { to }, `${run} is now number ${to + 1} of ${waiting.length} that wait.`);
  };
  return (
    <section class="panel">
      <h2>Queue</h2>
      {fault && <FaultWords fault={fault} />}
      {jobs.length === 0 && <p>Nothing was started here yet.</p>}
      <p class="dim" role="status">
        {said}
      </p>
      <ul class="queue" ref={list}>
        {inTurn(jobs).map((job) => {
          const { id, run } = job;
          const place = waiting.indexOf(id);
          return (
            <JobItem key={id} job={job}>
              {place >= 0 && (
                <span id={`job-${id}`}>
                  {(["earlier", "later"] as const).map((name) => (
                    <button
                      key={name}
                      type="button"
                      name={name}
                      aria-label={`Start ${run} ${name}`}
                      disabled={place === (name === "earlier" ? 0 : waiting.length - 1)}
                      onClick={() => move(job, name)}
                    >
                      {name === "earlier" ? "↑ Earlier" : "↓ Later"}
                    </button>
                  ))}{" "}
                  <button type="button" onClick={() => change(`${id}/cancel`, {}, `${run} is taken out.`)}>
                    Take out
                  </button>
                </span>
              )}
              {job.canGoOn && (
                <button
                  type="button"
                  aria-label={`Go on with ${run}`}
                  onClick={() => change(`${id}/go-on`, {}, `${run} goes on as soon as its device is free.`)}
                >
                  Go on
                </button>
              )}
            </JobItem>
          );
        })}
      </ul>
    </section>
  );
}
