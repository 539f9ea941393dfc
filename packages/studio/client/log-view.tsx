import type { LogTail } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { useRemote } from "./remote.ts";
import type { ViewProps } from "./run-view.tsx";

/** The end of the log, the newest line first. */
export function LogView({ page: { run }, version }: ViewProps) {
  const { value, fault } = useRemote<LogTail>(`/api/runs/${run.id}/log`, version);
  if (fault) return <FaultWords fault={fault} />;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by keyboard
    <section class="table-frame log" aria-label="The newest lines of the log" tabIndex={0}>
      <ol reversed>
        {(value?.lines ?? []).toReversed().map((line, i) => (
          <li key={`${i} ${line}`}>{line}</li>
        ))}
      </ol>
    </section>
  );
}
