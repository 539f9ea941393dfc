// Grids of pictures by what they were made with: any side may be columns, rows or pages; two pictures are laid against each other.
import { useEffect, useState } from "preact/hooks";
import type { GridList, GridView } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { PairDialog } from "./pair-dialog.tsx";
import { useRemote } from "./remote.ts";
import { setQuery } from "./route.ts";
import { setting } from "./words.ts";

/** The grids of the folder. */
export function GridIndex() {
  const { value, fault } = useRemote<GridList>("/api/grids");
  useEffect(() => {
    document.title = "Grids · Studio";
  }, []);
  return (
    <main id="main">
      <h1>Grids</h1>
      {fault && <FaultWords fault={fault} />}
      <p>
        Pictures by checkpoint, LoRA strength, guidance, seed, prompt or sampler:{" "}
        <code>
          npx spo sample "a red apple" --model … --grid-x guidance=3,5,7 --grid-y lora=0,0.5,1 --output
          runs/grid
        </code>
      </p>
      <section class="panel">
        <h2>Below this folder</h2>
        {value?.grids.length === 0 && <p>There is none yet.</p>}
        <ul>
          {value?.grids.map(({ id, title }) => (
            <li key={id}>
              <a href={`/grids/${id}`}>{title}</a>
            </li>
          ))}
        </ul>
      </section>
    </main>
  );
}

type Picture = GridView["images"][number];

/** Which side is columns, rows and pages, in this order; by what the address says. */
export function sidesOf(count: number, asked: string | null): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  const found = (asked ?? "").split("").map(Number);
  return found.length === count && all.every((side) => found.includes(side)) ? found : all;
}

/** What differs between two pictures' settings. */
export function differences(a: Picture, b: Picture): { name: string; values: [unknown, unknown] }[] {
  const names = new Set([...Object.keys(a.parameters), ...Object.keys(b.parameters)]);
  return [...names].flatMap((name) => {
    const values: [unknown, unknown] = [a.parameters[name], b.parameters[name]];
    return JSON.stringify(values[0]) === JSON.stringify(values[1]) ? [] : [{ name, values }];
  });
}

/** A grid. */
export function Grid({ id, query }: { id: string; query: URLSearchParams }) {
  const { value: grid, fault } = useRemote<GridView>(`/api/grids/${id}`);
  const [chosen, setChosen] = useState<Picture>();
  const [pair, setPair] = useState<[Picture, Picture]>();
  const title = grid?.title;
  useEffect(() => {
    document.title = `${title ?? "Grid"} · Studio`;
  }, [title]);
  if (!grid)
    return (
      <main id="main">{fault ? <FaultWords fault={fault} /> : <p class="dim">Reading the grid …</p>}</main>
    );
  const order = sidesOf(grid.axes.length, query.get("sides"));
  const [columns, rows, pages] = order.map((side) => grid.axes[side]);
  const page = Math.min(Number(query.get("page") ?? 0) || 0, (pages?.values.length ?? 1) - 1);
  const find = (x: number, y: number): Picture | undefined =>
    grid.images.find(({ at }) => order.every((side, role) => at[side] === [x, y, page][role]));
  const nameOf = (picture: Picture): string =>
    grid.axes.map(({ name, values }, side) => `${name} ${values[picture.at[side] ?? 0]}`).join(", ");
  const choose = (picture: Picture): void => {
    if (chosen === picture) setChosen(undefined);
    else if (chosen) {
      setPair([chosen, picture]);
      setChosen(undefined);
    } else setChosen(picture);
  };
  const orders = permutations(grid.axes.map((_, i) => i));
  return (
    <main id="main">
      <nav class="crumbs" aria-label="Where">
        <a href="/grids">Grids</a>
      </nav>
      <h1>{grid.title}</h1>
      <p class="essence">Choose two pictures to lay them against each other.</p>
      <div class="bar">
        {orders.length > 1 && (
          <label>
            Columns, rows{grid.axes.length > 2 && ", pages"}{" "}
            <select
              value={order.join("")}
              onChange={(event) => setQuery({ sides: event.currentTarget.value, page: undefined })}
            >
              {orders.map((each) => (
                <option key={each.join("")} value={each.join("")}>
                  {each.map((side) => grid.axes[side]?.name).join(", ")}
                </option>
              ))}
            </select>
          </label>
        )}
        {pages && (
          <label>
            {pages.name}{" "}
            <select value={page} onChange={(event) => setQuery({ page: event.currentTarget.value })}>
              {pages.values.map((value, i) => (
                <option key={value} value={i}>
                  {value}
                </option>
              ))}
            </select>
          </label>
        )}
        {grid.page && (
          <a href={grid.page} download="">
            Keep as one HTML file
          </a>
        )}
        {grid.picture && (
          <a
            href={`${grid.picture}?page=${order[2] === 2 ? page : 0}`}
            download={`${grid.title.split("/").at(-1)}.png`}
          >
            Keep as PNG
          </a>
        )}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by keyboard */}
      <section class="grid-frame" aria-label="Pictures" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">{rows?.name ?? ""}</th>
              {columns?.values.map((value) => (
                <th key={value} scope="col">
                  {columns.name} {value}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {(rows?.values ?? [""]).map((row, y) => (
              <tr key={row}>
                <th scope="row">{row}</th>
                {columns?.values.map((value, x) => {
                  const picture = find(x, y);
                  return (
                    <td key={value}>
                      {picture && (
                        <button
                          type="button"
                          class="picture"
                          aria-pressed={picture === chosen}
                          onClick={() => choose(picture)}
                        >
                          <img src={picture.src} alt={nameOf(picture)} loading="lazy" />
                        </button>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {pair && (
        <PairDialog
          title="Two pictures"
          pictures={[
            { name: nameOf(pair[0]), src: pair[0].src },
            { name: nameOf(pair[1]), src: pair[1].src },
          ]}
          close={() => setPair(undefined)}
        >
          <p>
            {differences(...pair)
              .map(({ name, values }) => `${name}: ${setting(values[0])} and ${setting(values[1])}`)
              .join("; ") || "They were made with the same settings."}
          </p>
        </PairDialog>
      )}
    </main>
  );
}

function permutations(of: readonly number[]): number[][] {
  if (of.length < 2) return [[...of]];
  return of.flatMap((first) =>
    permutations(of.filter((each) => each !== first)).map((rest) => [first, ...rest]),
  );
}
