import { useEffect } from "preact/hooks";
import { Data, DataIndex } from "./data.tsx";
import { Grid, GridIndex } from "./grids.tsx";
import { Judge, JudgeList } from "./judge.tsx";
import { followLinks, setQuery, useRoute } from "./route.ts";
import { RunList } from "./run-list.tsx";
import { RunView } from "./run-view.tsx";
import { Start } from "./start.tsx";

/** Path and name of each place that is always at hand. */
const PLACES = [
  ["", "Runs"],
  ["judge", "Judge"],
  ["data", "Data"],
  ["grids", "Grids"],
  ["start", "Start"],
] as const;

/** The page of an address. */
export function App() {
  const { parts, query } = useRoute();
  useEffect(() => {
    // The mark by which the server knows a browser that keeps no cookie; of no use from here on.
    if (query.has("opened")) setQuery({ opened: undefined });
    document.addEventListener("click", followLinks);
    return () => document.removeEventListener("click", followLinks);
  }, [query.has("opened")]);
  const [place, id, view] = parts;
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="top">
        {query.has("as") ? (
          <span class="brand">Studio</span>
        ) : (
          <>
            <a href="/" class="brand">
              Studio
            </a>
            <nav aria-label="Studio">
              {PLACES.map(([path, label]) => (
                <a
                  key={path}
                  href={`/${path}`}
                  aria-current={(place || "runs") === (path || "runs") ? "page" : undefined}
                >
                  {label}
                </a>
              ))}
            </nav>
          </>
        )}
      </header>
      <Place place={place} id={id} view={view} query={query} />
    </>
  );
}

function Place({
  place,
  id,
  view,
  query,
}: {
  place?: string;
  id?: string;
  view?: string;
  query: URLSearchParams;
}) {
  if (place === "runs" && id !== undefined)
    return <RunView key={id} id={id} view={view ?? "overview"} query={query} />;
  if (place === "data") return id === undefined ? <DataIndex /> : <Data key={id} id={id} query={query} />;
  if (place === "grids") return id === undefined ? <GridIndex /> : <Grid key={id} id={id} query={query} />;
  if (place === "start") return <Start query={query} />;
  if (place === "judge")
    return id === undefined ? <JudgeList /> : <Judge key={id} id={id} view={view} guest={query.get("as")} />;
  return <RunList query={query} />;
}
