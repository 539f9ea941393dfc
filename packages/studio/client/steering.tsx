// What a person does to a run: notes, requests of a training at work, the trash.
import { useState } from "preact/hooks";
import type { Deleted, Fault, Notes, QueuedJob, RunPage } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { tell } from "./remote.ts";
import { go } from "./route.ts";

const REQUESTS = {
  sample: { label: "Sample now", asked: "Samples are drawn after this step" },
  save: { label: "Save now", asked: "A checkpoint is written after this step" },
  stop: { label: "Stop after a checkpoint", asked: "It stops after this step and a checkpoint" },
} as const;

/** What a training of a kind can be asked: a preference model draws no samples. */
export const requestsOf = (kind: string): (keyof typeof REQUESTS)[] =>
  kind === "train spm" ? ["save", "stop"] : ["sample", "save", "stop"];

/** Buttons of a training at work; each says so until the training has taken it. */
export function Requests({ page: { run, requests } }: { page: RunPage }) {
  const [fault, setFault] = useState<Fault>();
  const [asked, setAsked] = useState<string[]>([]);
  const ask = (request: string) => (): void => {
    setFault(undefined);
    setAsked([...asked, request]);
    tell("POST", `/api/runs/${run.id}/requests`, { request }).catch(setFault);
    setTimeout(() => setAsked((before) => before.filter((each) => each !== request)), 2000); // from then on the page knows
  };
  return (
    <>
      <fieldset class="bar" aria-label="Ask the training">
        {requestsOf(run.kind).map((request) => (
          <button
            key={request}
            type="button"
            disabled={asked.includes(request) || requests.includes(request)}
            onClick={ask(request)}
          >
            {REQUESTS[request].label}
          </button>
        ))}
      </fieldset>
      <p class="dim" role="status">
        {requests.map((request) => REQUESTS[request].asked).join(". ")}
        {requests.length > 0 && "."}
      </p>
      {fault && <FaultWords fault={fault} />}
    </>
  );
}

/** Goes on with a training that stopped, or makes one that has ended longer, by the queue. */
export function GoOn({ page: { run, goOn } }: { page: RunPage }) {
  const [job, setJob] = useState<QueuedJob>();
  const [fault, setFault] = useState<Fault>();
  const [to, setTo] = useState(String(2 * (goOn?.from ?? 0)));
  if (!goOn) return null;
  const { length, from = 0, anew } = goOn;
  const start = (event: Event): void => {
    event.preventDefault();
    setFault(undefined);
    const wish = length === undefined ? {} : { to: Number(to) };
    tell<QueuedJob>("POST", `/api/runs/${run.id}/go-on`, wish).then(setJob, setFault);
  };
  return (
    <form class="bar" onSubmit={start}>
      {length !== undefined && (
        <label>
          {length}{" "}
          <input
            type="number"
            min={from + 1}
            required
            value={to}
            onInput={(event) => setTo(event.currentTarget.value)}
          />
        </label>
      )}
      <button type="submit">{length === undefined ? "Go on" : "Train longer"}</button>
      <span class="dim" role="status">
        {job ? (
          <>
            It goes on as soon as its device is free: <a href="/start">the queue</a>.
          </>
        ) : (
          `By the settings that it was begun with, ${anew ? "from its first step: there is no checkpoint yet" : "from its last checkpoint"}.`
        )}
      </span>
      {fault && <FaultWords fault={fault} />}
    </form>
  );
}

const EXPORTS: Record<string, string> = {
  kohya: "LoRA for ComfyUI, A1111 and Forge",
  diffusers: "LoRA for diffusers",
  peft: "LoRA of PEFT",
  merged: "Base with the LoRA in it, one file",
  "single-file": "Whole model, one file",
};

/** Writes a training's result in another layout, by the queue. */
export function Exports({ page: { run, exports } }: { page: RunPage }) {
  const [job, setJob] = useState<QueuedJob>();
  const [fault, setFault] = useState<Fault>();
  const write = (layout: string) => (): void => {
    setFault(undefined);
    tell<QueuedJob>("POST", `/api/runs/${run.id}/export`, { layout }).then(setJob, setFault);
  };
  return (
    <section class="panel">
      <h2>Write the result as</h2>
      <div class="bar">
        {exports.map((layout) => (
          <button key={layout} type="button" onClick={write(layout)}>
            {EXPORTS[layout] ?? layout}
          </button>
        ))}
      </div>
      <p role="status">
        {job && (
          <>
            {job.run} is written by <a href="/start">the queue</a>.
          </>
        )}
      </p>
      {fault && <FaultWords fault={fault} />}
    </section>
  );
}

/** Tags as people write them, with commas. */
export const tagsOf = (text: string): string[] => [
  ...new Set(
    text
      .split(",")
      .map((tag) => tag.trim())
      .filter(Boolean),
  ),
];

/** Tags and a note, kept in the run's folder; and the way to the trash. */
export function NotesPanel({ page: { run, notes } }: { page: RunPage }) {
  const [tags, setTags] = useState(notes.tags.join(", "));
  const [note, setNote] = useState(notes.note);
  const [told, setTold] = useState("");
  const [fault, setFault] = useState<Fault>();
  const save = (event: Event): void => {
    event.preventDefault();
    setFault(undefined);
    tell<Notes>("PUT", `/api/runs/${run.id}/notes`, { tags: tagsOf(tags), note }).then(
      () => setTold("Kept in the run's folder."),
      setFault,
    );
  };
  return (
    <section class="panel">
      <h2>Notes</h2>
      <form onSubmit={save} class="notes">
        <label>
          Tags, with commas between
          <input value={tags} onInput={(event) => setTags(event.currentTarget.value)} />
        </label>
        <label>
          Note
          <textarea rows={3} value={note} onInput={(event) => setNote(event.currentTarget.value)} />
        </label>
        <div class="bar">
          <button type="submit">Keep</button>
          <span role="status">{told}</span>
          {run.state !== "running" && <ToTrash id={run.id} onFault={setFault} />}
        </div>
        {fault && <FaultWords fault={fault} />}
      </form>
    </section>
  );
}

/** Asks once more before it moves the run. */
function ToTrash({ id, onFault }: { id: string; onFault: (fault: Fault) => void }) {
  const [sure, setSure] = useState(false);
  const move = (): void => {
    if (!sure) {
      setSure(true);
      return;
    }
    tell<Deleted>("POST", `/api/runs/${id}/trash`, {}).then(
      ({ name, now }) => go(`/?${new URLSearchParams({ deleted: id, name, now })}`),
      onFault,
    );
  };
  return (
    <button type="button" class="end" onClick={move}>
      {sure ? "Really move it to the trash?" : "Delete"}
    </button>
  );
}

/** After a run was moved to the trash: where it is, and back. */
export function DeletedWords({ query }: { query: URLSearchParams }) {
  const [fault, setFault] = useState<Fault>();
  const id = query.get("deleted");
  if (id === null) return null;
  const undo = (): void => {
    tell("POST", `/api/runs/${encodeURIComponent(id)}/restore`, {}).then(() => go(`/runs/${id}`), setFault);
  };
  return (
    <div class="panel" role="status">
      <p>
        {query.get("name")} is now {query.get("now")}.{" "}
        <button type="button" onClick={undo}>
          Undo
        </button>
      </p>
      {fault && <FaultWords fault={fault} />}
    </div>
  );
}
