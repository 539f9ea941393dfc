// All runs of a folder: thousands of rows, of which those in sight are drawn.
import { useEffect, useMemo } from "preact/hooks";
import type { RunList as List, RunState, RunSummary } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { FilterBox, fitsWords } from "./filter-box.tsx";
import { useRemote, useTicks } from "./remote.ts";
import { setQuery } from "./route.ts";
import { DeletedWords } from "./steering.tsx";
import { useVirtualRows } from "./virtual-rows.ts";
import { when } from "./words.ts";

const ROW_HEIGHT = 44;
const REFRESH_MS = 2000;
const STATES: readonly RunState[] = ["running", "finished", "stopped", "killed", "damaged"];

/** Runs that a filter lets through: each of its words stands in name, kind, state or tags. */
export function filtered(runs: readonly RunSummary[], words: string, state: string): RunSummary[] {
  return runs.filter(
    (run) =>
      (state === "" || run.state === state) &&
      fitsWords(words, `${run.name} ${run.kind} ${run.state} ${run.tags.join(" ")}`),
  );
}

/** The first page: which runs there are. */
export function RunList({ query }: { query: URLSearchParams }) {
  const { value, fault } = useRemote<List>("/api/runs", useTicks(REFRESH_MS));
  const [words, state] = [query.get("q") ?? "", query.get("state") ?? ""];
  const shown = useMemo(() => filtered(value?.runs ?? [], words, state), [value, words, state]);
  useEffect(() => {
    document.title = "Runs · Studio";
  }, []);
  return (
    <main id="main">
      <h1>Runs</h1>
      {value && <p class="essence">{essence(value.runs)}</p>}
      {fault && <FaultWords fault={fault} />}
      <DeletedWords query={query} />
      <FilterBox what="the runs" words={words}>
        <label>
          State{" "}
          <select
            value={state}
            onChange={(event) => setQuery({ state: event.currentTarget.value || undefined })}
          >
            <option value="">all</option>
            {STATES.map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </label>
      </FilterBox>
      {value && shown.length === 0 ? (
        <p class="panel">
          {value.runs.length === 0
            ? `No runs below ${value.folder} yet. A training makes one: npx spo train spo … --run ${value.folder}/first`
            : "No run fits the filter."}
        </p>
      ) : (
        <Rows runs={shown} />
      )}
    </main>
  );
}

function essence(runs: readonly RunSummary[]): string {
  const running = runs.filter(({ state }) => state === "running").length;
  const lost = runs.filter(({ state }) => state === "killed").length;
  return `${runs.length} run${runs.length === 1 ? "" : "s"}, ${running === 0 ? "none" : running} running${lost > 0 ? `; ${lost} ended without a word` : ""}.`;
}

function Rows({ runs }: { runs: readonly RunSummary[] }) {
  const { frame, places, above, below } = useVirtualRows(runs.length, ROW_HEIGHT);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by keyboard
    <section class="table-frame" ref={frame} aria-label="Runs" tabIndex={0}>
      <table aria-rowcount={runs.length + 1} style={{ marginTop: `${above}px`, marginBottom: `${below}px` }}>
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              Step
            </th>
            <th scope="col" class="wide-only">
              Kind
            </th>
            <th scope="col" class="wide-only">
              Changed
            </th>
          </tr>
        </thead>
        <tbody>
          {places.map((index) => (
            <Row key={runs[index]?.id} run={runs[index] as RunSummary} index={index} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

const Row = ({
  run: { id, name, state, step, total, kind, changed, tags, fault },
  index,
}: {
  run: RunSummary;
  index: number;
}) => (
  <tr aria-rowindex={index + 2}>
    <th scope="row">
      <a href={`/runs/${id}`} title={fault}>
        {name}
      </a>
      {tags.map((tag) => (
        <span key={tag} class="tag">
          {tag}
        </span>
      ))}
    </th>
    <td>
      <StateBadge state={state} />
    </td>
    <td class="number">{total > 0 ? `${step} of ${total}` : step}</td>
    <td class="wide-only">{kind}</td>
    <td class="wide-only">{when(changed)}</td>
  </tr>
);

/** A state in its colour. */
export const StateBadge = ({ state }: { state: string }) => <span class={`badge ${state}`}>{state}</span>;
