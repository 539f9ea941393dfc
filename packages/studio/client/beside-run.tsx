import type { RunList, RunSummary } from "../src/api.ts";
import { useRemote } from "./remote.ts";

/** All runs of the folder; empty until they are told. */
export const useRuns = (): RunSummary[] => useRemote<RunList>("/api/runs").value?.runs ?? [];

/** Chooses another run, of some, to be shown beside one. chosen: its ID, where there is one. */
export function BesideRun({
  runs,
  chosen = "",
  disabled = false,
  choose,
}: {
  runs: readonly RunSummary[];
  chosen?: string;
  disabled?: boolean;
  choose: (id: string) => void;
}) {
  return (
    <label>
      Beside{" "}
      <select value={chosen} disabled={disabled} onChange={(event) => choose(event.currentTarget.value)}>
        <option value="">another run …</option>
        {runs.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
