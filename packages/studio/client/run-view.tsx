// One run: what goes on or came out, then pictures, then figures; and its curves, steps, samples, log and settings.
import { useEffect, useMemo } from "preact/hooks";
import type { Activity, RunPage } from "../src/api.ts";
import { Curves } from "./curves.tsx";
import { FaultWords } from "./fault-words.tsx";
import { LogView } from "./log-view.tsx";
import { Overview } from "./overview.tsx";
import { type LiveRun, useLiveRun, useRemote } from "./remote.ts";
import { StateBadge } from "./run-list.tsx";
import { Samples } from "./samples.tsx";
import { Settings } from "./settings.tsx";
import { GoOn, Requests } from "./steering.tsx";
import { Steps } from "./steps.tsx";

const VIEWS: Record<string, string> = {
  overview: "Overview",
  steps: "Steps",
  samples: "Samples",
  curves: "Curves",
  log: "Log",
  settings: "Settings",
};

/** The views that have something to show of a run, or will have while it trains: a preference model draws nothing. */
export function viewsOf({
  run: { kind },
  strips,
  samples,
}: Pick<RunPage, "run" | "strips" | "samples">): string[] {
  const isEmpty: Record<string, boolean> = {
    steps: kind !== "train spo" && strips.length === 0,
    samples: kind === "train spm" && samples.length === 0,
  };
  return Object.keys(VIEWS).filter((view) => !isEmpty[view]);
}

/** What every view of a run is given. */
export interface ViewProps {
  page: RunPage;
  query: URLSearchParams;
  /** Grows when the log has grown. */
  version: number;
}

/** The page of a run. */
export function RunView({ id, view, query }: { id: string; view: string; query: URLSearchParams }) {
  const first = useRemote<RunPage>(`/api/runs/${id}/page`);
  const live = useLiveRun(id, first.value?.mark);
  const { value: newest, fault } = useRemote<RunPage>(`/api/runs/${id}/page`, live.version);
  const page = newest ?? first.value;
  const name = page?.run.name;
  useEffect(() => {
    document.title = `${name ?? "Run"} · Studio`;
  }, [name]);
  if (!page)
    return (
      <main id="main">{fault ? <FaultWords fault={fault} /> : <p class="dim">Reading the run …</p>}</main>
    );
  const { run } = page;
  const state = live.now?.state ?? run.state;
  return (
    <main id="main">
      <nav class="crumbs" aria-label="Where">
        <a href="/">Runs</a>
      </nav>
      <h1>
        {run.name} <StateBadge state={state} /> <span class="kind">{run.kind}</span>
      </h1>
      <p class="essence">{page.essence}</p>
      {live.now?.activity && <Now activity={live.now.activity} />}
      {run.fault && <p class="fault">{run.fault}</p>}
      <div class="bar">
        {state === "running" ? <Requests page={page} /> : <GoOn key={`${run.id} ${run.state}`} page={page} />}
        {run.kind.startsWith("train ") && (
          <a href={`/api/runs/${id}/report`} download="">
            Keep as one HTML file
          </a>
        )}
      </div>
      <Link live={live} />
      <nav class="tabs" aria-label="Views of the run">
        {viewsOf(page).map((key) => (
          <a
            key={key}
            href={`/runs/${id}${key === "overview" ? "" : `/${key}`}`}
            aria-current={key === view ? "page" : undefined}
          >
            {VIEWS[key]}
          </a>
        ))}
      </nav>
      <View view={view} page={page} query={query} version={live.version} />
    </main>
  );
}

function View({ view, ...props }: ViewProps & { view: string }) {
  const id = props.page.run.id;
  const key = useMemo(() => id, [id]);
  switch (view) {
    case "steps":
      return <Steps key={key} {...props} />;
    case "samples":
      return <Samples key={key} {...props} />;
    case "curves":
      return <Curves key={key} {...props} />;
    case "log":
      return <LogView key={key} {...props} />;
    case "settings":
      return <Settings key={key} {...props} />;
    default:
      return <Overview key={key} {...props} />;
  }
}

/** What the process does at this moment. */
const Now = ({ activity: { phase, done, total } }: { activity: Activity }) => (
  <p class="now">
    {phase}
    {total > 0 && (
      <>
        {" "}
        <progress value={done} max={total} aria-label={phase} /> {done} of {total}
      </>
    )}
  </p>
);

/** Whether the page still hears of the run. */
function Link({ live: { link } }: { live: LiveRun }) {
  if (link === "open") return null;
  return (
    <p class="fault" role="status">
      {link === "lost"
        ? "The connection to Studio is lost; it is tried again. What you see may be old."
        : "Studio has closed the connection: it may have been started anew. Open the address that it printed."}
    </p>
  );
}
