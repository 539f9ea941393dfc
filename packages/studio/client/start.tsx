// Starting a training: the queue, a form made of its settings, the forecast beside it.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Fault, Forecast, FormSetting, JobForm, JobList } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { JobQueue } from "./job-queue.tsx";
import { tell, useRemote, useTicks } from "./remote.ts";
import { setQuery } from "./route.ts";

const REFRESH_MS = 2000;
/** After the last change, before a forecast is asked for. */
const SETTLED_MS = 800;

/** The value at a dotted path. */
const at = (config: object, path: string): unknown =>
  path
    .split(".")
    .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], config);

/** A config of the settings that were given, by dotted path. Those that say what stands there anyway are left out. */
export function configOf(
  settings: readonly FormSetting[],
  given: Readonly<Record<string, string>>,
  preset: object,
): Record<string, unknown> {
  const config: Record<string, unknown> = {};
  for (const { path, kind, default: fallback } of settings) {
    const text = given[path];
    if (text === undefined || text === "" || text === shown(at(preset, path) ?? fallback)) continue;
    const keys = path.split(".");
    let inner = config;
    for (const key of keys.slice(0, -1)) {
      inner[key] ??= {};
      inner = inner[key] as Record<string, unknown>;
    }
    inner[keys.at(-1) as string] = typed(text, kind);
  }
  return config;
}

/** What a text says: numbers, yes and no, `null` and lists as such, anything else as it stands. */
function typed(text: string, kind: FormSetting["kind"]): unknown {
  if (text === "null") return null;
  if (kind === "boolean") return text === "true";
  if (kind === "number") return Number.isNaN(Number(text)) ? text : Number(text);
  if (kind === "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    return kind === "list" ? text.split(",").map((each) => each.trim()) : text;
  }
}

const shown = (value: unknown): string =>
  value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);

/** The page of starting. */
export function Start({ query }: { query: URLSearchParams }) {
  const [version, setVersion] = useState(0);
  const ticks = useTicks(REFRESH_MS);
  const { value, fault } = useRemote<JobList>("/api/jobs", `${ticks} ${version}`);
  useEffect(() => {
    document.title = "Start · Studio";
  }, []);
  const kinds = value?.kinds ?? [];
  const kind = query.get("kind") ?? kinds[0];
  return (
    <main id="main">
      <h1>Start a training</h1>
      {fault && <FaultWords fault={fault} />}
      {value && kinds.length === 0 && (
        <p class="panel">
          This Studio has no form of trainings. Start it with <code>--allow-start</code>: whoever has its
          address can then start trainings with your rights.
        </p>
      )}
      {/* Above a form of some screens: what was just put in is seen. */}
      {value && (kinds.length > 0 || value.jobs.length > 0) && (
        <JobQueue jobs={value.jobs} onChange={() => setVersion(version + 1)} />
      )}
      {kind !== undefined && kinds.length > 0 && (
        <>
          <div class="bar">
            <label>
              Training{" "}
              <select value={kind} onChange={(event) => setQuery({ kind: event.currentTarget.value })}>
                {kinds.map((each) => (
                  <option key={each} value={each}>
                    {each}
                  </option>
                ))}
              </select>
            </label>
          </div>
          <Form key={kind} kind={kind} onAdded={() => setVersion(version + 1)} />
        </>
      )}
    </main>
  );
}

function Form({ kind, onAdded }: { kind: string; onAdded: () => void }) {
  const { value: form, fault } = useRemote<JobForm>(`/api/jobs/form/${kind.replace(" ", "-")}`);
  const [preset, setPreset] = useState("");
  const [run, setRun] = useState("");
  const [words, setWords] = useState("");
  const [given, setGiven] = useState<Record<string, string>>({});
  const [refused, setRefused] = useState<Fault>();
  const base = form?.presets[preset] ?? {};
  const config = useMemo(() => configOf(form?.settings ?? [], given, base), [form, given, base]);
  const wish = { kind, ...(preset && { preset }), config, run: run || "run" };
  const forecast = useForecast(wish, form !== undefined);
  if (!form) return fault ? <FaultWords fault={fault} /> : <p class="dim">Reading the settings …</p>;
  const start = (event: Event): void => {
    event.preventDefault();
    setRefused(undefined);
    tell("POST", "/api/jobs", { ...wish, run }).then(() => {
      setRun("");
      onAdded();
    }, setRefused);
  };
  const wanted = words.toLowerCase();
  const fits = ({ path, description }: FormSetting): boolean =>
    `${path} ${description ?? ""}`.toLowerCase().includes(wanted);
  const shownSettings = form.settings.filter(fits);
  const headings = [...new Set(shownSettings.map(({ heading }) => heading))];
  return (
    <form class="start" onSubmit={start}>
      <div>
        <div class="bar">
          <label>
            Preset{" "}
            <select value={preset} onChange={(event) => setPreset(event.currentTarget.value)}>
              <option value="">none</option>
              {Object.keys(form.presets).map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label>
            Run's name <input required value={run} onInput={(event) => setRun(event.currentTarget.value)} />
          </label>
          <label>
            Find a setting{" "}
            <input type="search" value={words} onInput={(event) => setWords(event.currentTarget.value)} />
          </label>
        </div>
        {shownSettings.length === 0 && <p>No setting has these words.</p>}
        {headings.map((heading) => (
          <fieldset key={heading} class="panel">
            <legend>{heading}</legend>
            {shownSettings
              .filter((setting) => setting.heading === heading)
              .map((setting) => (
                <Field
                  key={setting.path}
                  setting={setting}
                  preset={at(base, setting.path)}
                  value={given[setting.path]}
                  onInput={(text) => setGiven({ ...given, [setting.path]: text })}
                />
              ))}
          </fieldset>
        ))}
      </div>
      <aside class="panel">
        <h2>Forecast</h2>
        <pre class="words" aria-live="polite">
          {forecast?.words ?? "…"}
        </pre>
        <h2>The file that the command reads</h2>
        <pre class="words">{JSON.stringify(config, null, 2)}</pre>
        {refused && <FaultWords fault={refused} />}
        <button type="submit">Put into the queue</button>
      </aside>
    </form>
  );
}

/** What the plan says once nothing was changed for a while. */
function useForecast(wish: object, isReady: boolean): Forecast | undefined {
  const [forecast, setForecast] = useState<Forecast>();
  const text = JSON.stringify(wish);
  useEffect(() => {
    if (!isReady) return;
    let isOld = false;
    const timer = setTimeout(() => {
      tell<Forecast>("POST", "/api/jobs/forecast", JSON.parse(text)).then(
        (found) => !isOld && setForecast(found),
        () => undefined, // the form says it when it is sent
      );
    }, SETTLED_MS);
    return () => {
      isOld = true;
      clearTimeout(timer);
    };
  }, [text, isReady]);
  return forecast;
}

interface FieldProps {
  setting: FormSetting;
  preset: unknown;
  value?: string;
  onInput: (text: string) => void;
}

function Field({ setting, preset, value, onInput }: FieldProps) {
  const { path, type, range, choices, kind, description, required, default: fallback } = setting;
  const usual = shown(preset ?? fallback);
  const words = kind === "boolean" ? ["true", "false"] : choices;
  const id = `setting-${path}`;
  const isRequired = required && preset === undefined;
  return (
    <div class="field">
      <label for={id}>
        <code>{path}</code>
      </label>{" "}
      <span class="dim">
        {description} ({[type, range].filter(Boolean).join(", ")})
      </span>
      {words ? (
        <select id={id} value={value ?? usual} onChange={(event) => onInput(event.currentTarget.value)}>
          {[...new Set([usual, ...words])].map((word) => (
            <option key={word} value={word}>
              {word}
            </option>
          ))}
        </select>
      ) : (
        <input
          id={id}
          value={value ?? ""}
          placeholder={usual}
          required={isRequired}
          inputMode={kind === "number" ? "decimal" : "text"}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </div>
  );
}
