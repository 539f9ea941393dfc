import type { ComponentChildren } from "preact";
import type { QueuedJob } from "../src/api.ts";
import { when } from "./words.ts";

/** A job of the queue: its state, its runs, its command; what it said where it failed. children: what can be done with it. */
export const JobItem = ({
  job: { run, kind, device, added, votes, state, command, said },
  children,
}: {
  job: QueuedJob;
  children?: ComponentChildren;
}) => (
  <li>
    <span class={`badge ${state}`}>{state}</span> <a href={`/?q=${encodeURIComponent(run)}`}>{run}</a>{" "}
    <span class="dim">
      {kind}
      {votes !== undefined && ` (${votes})`}, {device}, {when(added)}
    </span>{" "}
    {children}
    <pre class="words">{command}</pre>
    {state === "failed" && <pre class="words">{said.join("\n")}</pre>}
  </li>
);
