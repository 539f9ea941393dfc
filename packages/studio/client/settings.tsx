import type { ViewProps } from "./run-view.tsx";
import { setting } from "./words.ts";

/** Dotted names and values of a config. */
export function flattened(value: unknown, path = ""): [string, unknown][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [[path, value]];
  return Object.entries(value).flatMap(([key, inner]) => flattened(inner, path ? `${path}.${key}` : key));
}

/** All settings, and where they differ from the nearest preset. */
export function Settings({ page: { config, preset } }: ViewProps) {
  return (
    <>
      {preset && (
        <section class="panel">
          <h2>Beside the preset {preset.name}</h2>
          {preset.differences.length === 0 ? (
            <p>No setting of the preset is changed.</p>
          ) : (
            <Table
              head={["Setting", "Here", preset.name]}
              rows={preset.differences.map(({ setting: name, here, there }) => [
                name,
                setting(here),
                setting(there),
              ])}
            />
          )}
        </section>
      )}
      <section class="panel">
        <h2>All settings</h2>
        <Table
          head={["Setting", "Value"]}
          rows={flattened(config).map(([name, value]) => [name, setting(value)])}
        />
      </section>
    </>
  );
}

const Table = ({ head, rows }: { head: string[]; rows: string[][] }) => (
  <table>
    <thead>
      <tr>
        {head.map((name) => (
          <th key={name} scope="col">
            {name}
          </th>
        ))}
      </tr>
    </thead>
    <tbody>
      {rows.map(([name, ...values]) => (
        <tr key={name}>
          <th scope="row">{name}</th>
          {values.map((value, i) => (
            <td key={i} class="value">
              {value}
            </td>
          ))}
        </tr>
      ))}
    </tbody>
  </table>
);
