// A preference set: its figures, and its pairs with what is wrong with them.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { DataPair, DataSet, JudgingList } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { FilterBox, fitsWords } from "./filter-box.tsx";
import { PairDialog } from "./pair-dialog.tsx";
import { useRemote } from "./remote.ts";
import { setQuery } from "./route.ts";
import { useVirtualRows } from "./virtual-rows.ts";

const ROW_HEIGHT = 132;
const FLAGS: readonly DataPair["flags"][number][] = ["broken", "duplicate", "same picture", "leak"];
const LABELS: Record<DataPair["label"], string> = {
  first: "the left is better",
  second: "the right is better",
  tie: "tie",
  none: "no label",
};

/** The sets of the folder. */
export function DataIndex() {
  const { value, fault } = useRemote<JudgingList>("/api/judging");
  useEffect(() => {
    document.title = "Data · Studio";
  }, []);
  return (
    <main id="main">
      <h1>Preference sets</h1>
      {fault && <FaultWords fault={fault} />}
      <section class="panel">
        <h2>Below this folder</h2>
        {value?.sets.length === 0 && (
          <p>
            There is none yet: <code>npx spo data export pairs.parquet --to jsonl --output runs/taste</code>
          </p>
        )}
        <ul>
          {value?.sets.map(({ id, title }) => (
            <li key={id}>
              <a href={`/data/${id}`}>{title}</a>
            </li>
          ))}
        </ul>
      </section>
    </main>
  );
}

/** Places of the pairs that a filter lets through. */
export function filteredPairs(
  pairs: readonly DataPair[],
  words: string,
  label: string,
  flag: string,
): number[] {
  return pairs.flatMap((pair, i) => {
    const fits =
      (label === "" || pair.label === label) &&
      (flag === "" || pair.flags.includes(flag as DataPair["flags"][number])) &&
      fitsWords(words, `${pair.prompt} ${pair.split}`);
    return fits ? [i] : [];
  });
}

/** A set. */
export function Data({ id, query }: { id: string; query: URLSearchParams }) {
  const { value: set, fault } = useRemote<DataSet>(`/api/data/${id}`);
  const [words, label, flag] = ["q", "label", "flag"].map((name) => query.get(name) ?? "") as [
    string,
    string,
    string,
  ];
  const places = useMemo(
    () => filteredPairs(set?.pairs ?? [], words, label, flag),
    [set, words, label, flag],
  );
  const [shown, setShown] = useState<number>();
  const title = set?.title;
  useEffect(() => {
    document.title = `${title ?? "Data"} · Studio`;
  }, [title]);
  if (!set)
    return (
      <main id="main">
        {fault ? <FaultWords fault={fault} /> : <p class="dim">Looking through all pictures of the set …</p>}
      </main>
    );
  const srcOf = (place: number, side: 0 | 1): string => `/api/data/${id}/pictures/${place}/${side}`;
  const flagged = (name: DataPair["flags"][number]): number =>
    set.pairs.filter(({ flags }) => flags.includes(name)).length;
  const { facts } = set;
  const figures: [string, string | number][] = [
    ["Pairs", facts.pairs],
    ["Prompts", facts.prompts],
    ...Object.entries(facts.splits).map(([name, count]): [string, number] => [`Split ${name}`, count]),
    ["Left better", facts.first],
    ["Right better", facts.second],
    ["Ties", facts.ties],
    ["Without label", facts.unlabelled],
    ...FLAGS.map((name): [string, number] => [name, flagged(name)]),
    ...(facts.faults > 0 ? [["Lines that are no pair", facts.faults] as [string, number]] : []),
  ];
  const bad = set.pairs.filter(({ flags }) => flags.length > 0).length;
  const open = shown === undefined ? undefined : set.pairs[shown];
  return (
    <main id="main">
      <nav class="crumbs" aria-label="Where">
        <a href="/data">Data</a>
      </nav>
      <h1>{set.title}</h1>
      <p class="essence">
        {facts.pairs} pairs of {facts.prompts} prompts; {bad === 0 ? "none" : bad} to look at.
      </p>
      <dl class="facts panel">
        {figures.map(([what, value]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <FilterBox what="the pairs" words={words}>
        <Choice name="label" value={label} words={LABELS} />
        <Choice name="flag" value={flag} words={Object.fromEntries(FLAGS.map((each) => [each, each]))} />
        <span role="status" class="dim">
          {places.length} shown
        </span>
      </FilterBox>
      <Rows set={set} places={places} srcOf={srcOf} open={setShown} />
      {open && shown !== undefined && (
        <PairDialog
          title={open.prompt}
          pictures={[
            { name: "left", src: srcOf(shown, 0) },
            { name: "right", src: srcOf(shown, 1) },
          ]}
          close={() => setShown(undefined)}
        >
          <p>{[LABELS[open.label], ...open.flags].join("; ")}</p>
        </PairDialog>
      )}
    </main>
  );
}

const Choice = ({ name, value, words }: { name: string; value: string; words: Record<string, string> }) => (
  <label>
    {name === "label" ? "Label" : "To look at"}{" "}
    <select value={value} onChange={(event) => setQuery({ [name]: event.currentTarget.value || undefined })}>
      <option value="">all</option>
      {Object.entries(words).map(([key, word]) => (
        <option key={key} value={key}>
          {word}
        </option>
      ))}
    </select>
  </label>
);

interface RowsProps {
  set: DataSet;
  places: readonly number[];
  srcOf: (place: number, side: 0 | 1) => string;
  open: (place: number) => void;
}

function Rows({ set, places, srcOf, open }: RowsProps) {
  const rows = useVirtualRows(places.length, ROW_HEIGHT);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by keyboard
    <section class="table-frame" ref={rows.frame} aria-label="Pairs" tabIndex={0}>
      <ul class="pair-rows" style={{ paddingTop: `${rows.above}px`, paddingBottom: `${rows.below}px` }}>
        {rows.places.map((row) => {
          const place = places[row] as number;
          const pair = set.pairs[place] as DataPair;
          return (
            <li key={place}>
              <button type="button" class="picture" onClick={() => open(place)}>
                {([0, 1] as const).map((side) => (
                  <img
                    key={side}
                    src={srcOf(place, side)}
                    alt={`${pair.prompt}, ${side === 0 ? "left" : "right"}`}
                    class={pair.label === (["first", "second"] as const)[side] ? "better" : ""}
                    decoding="async"
                  />
                ))}
              </button>
              <div>
                <p>{pair.prompt}</p>
                <p class="dim">{[LABELS[pair.label], pair.split].filter(Boolean).join(", ")}</p>
                {pair.flags.map((each) => (
                  <span key={each} class="tag">
                    {each}
                  </span>
                ))}
              </div>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
