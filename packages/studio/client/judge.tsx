// Blind judging: two pictures of a prompt, and which one is better. Nothing on the page tells which is which.
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import type { Fault, JudgingList, JudgingResults, NextPairs } from "../src/api.ts";
import { type Action, Shortcuts } from "./actions.tsx";
import { FaultWords } from "./fault-words.tsx";
import { answered, filled, firstTimes, type JudgeState, judgedOf, type Pair, undone } from "./judge-state.ts";
import { JudgingResultsView } from "./judging-results.tsx";
import { Outbox, sendVote } from "./outbox.ts";
import { ask, useRemote } from "./remote.ts";

/** Pairs below which more are asked for. */
const FEW = 5;
const NAME = "studio-judge";

/** What can be judged. */
export function JudgeList() {
  const { value, fault } = useRemote<JudgingList>("/api/judging");
  useEffect(() => {
    document.title = "Judge · Studio";
  }, []);
  return (
    <main id="main">
      <h1>Judge</h1>
      <p class="essence">
        Two pictures of one prompt, blind: which is better? The votes become labels that a preference model
        learns from.
      </p>
      {fault && <FaultWords fault={fault} />}
      {value && (
        <section class="panel">
          <h2>Preference sets beside the runs</h2>
          {value.sets.length === 0 && <p>None yet.</p>}
          <ul>
            {value.sets.map(({ id, title }) => (
              <li key={id}>
                <a href={`/judge/${id}`}>{title}</a>
              </li>
            ))}
          </ul>
          <p class="dim">
            Any preference set becomes one: <code>npx spo data export SET --to jsonl -o FOLDER</code>, with a
            folder beside the runs. A run's base and its newest samples are judged from the run's page of
            samples.
          </p>
        </section>
      )}
    </main>
  );
}

/** The judging of a set or a run. guest: the name of who came by an invitation, and sees nothing else. */
export function Judge({ id, view, guest }: { id: string; view?: string; guest: string | null }) {
  const [labeller, setLabeller] = useState(() => guest ?? stored(NAME));
  useEffect(() => {
    document.title = "Judge · Studio";
  }, []);
  return (
    <main id="main">
      {guest === null && (
        <nav class="crumbs" aria-label="Where">
          <a href="/judge">Judge</a>
        </nav>
      )}
      <h1>{view === "results" ? "Votes so far" : "Which is better?"}</h1>
      {view === "results" ? (
        <>
          <JudgingResultsView id={id} />
          <p>
            <a href={`/judge/${id}`}>Go on judging</a>
          </p>
        </>
      ) : labeller === "" ? (
        <NameForm
          id={id}
          given={(name) => {
            keep(NAME, name);
            setLabeller(name);
          }}
        />
      ) : (
        <Judging
          key={labeller}
          id={id}
          labeller={labeller}
          rename={guest === null ? () => setLabeller("") : undefined}
        />
      )}
    </main>
  );
}

function NameForm({ id, given }: { id: string; given: (name: string) => void }) {
  const [name, setName] = useState("");
  const { value } = useRemote<JudgingResults>(`/api/judging/${id}/results`);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  return (
    <>
      <p class="essence">
        Click the better of two pictures, or press ← or →. Which model drew which is not shown, and every
        answer can be undone.
        {value?.training &&
          " Then a model is trained on your votes, and you see what it draws before and after."}
      </p>
      <form
        class="panel bar"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() !== "") given(name.trim());
        }}
      >
        <label>
          Your name, as it is to stand in the votes{" "}
          <input
            type="text"
            ref={field}
            value={name}
            maxLength={100}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Begin</button>
      </form>
    </>
  );
}

function Judging({ id, labeller, rename }: { id: string; labeller: string; rename?: () => void }) {
  const [state, setState] = useState<JudgeState>({ labeller, queue: [], answered: [] });
  const [set, setSet] = useState<NextPairs & { here: number }>();
  const [fault, setFault] = useState<Fault>();
  const [isAsking, setIsAsking] = useState(true);
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const [outbox] = useState(
    () =>
      new Outbox(`studio-votes-${id}`, {
        store: localStorage,
        send: (ballot) => sendVote(id, ballot),
        told: redraw as () => void,
      }),
  );
  const shownAt = useRef(0);
  useEffect(() => void outbox.run(), [outbox]);
  const { waiting } = outbox;
  const count = state.queue.length;
  useEffect(() => {
    // The server must know the answers before it chooses: what waits would come again.
    if (count >= FEW || waiting > 0) return;
    const except = state.queue.map(({ pair }) => pair).join(",");
    ask<NextPairs>(`/api/judging/${id}/next?labeller=${encodeURIComponent(labeller)}&except=${except}`).then(
      (found) => {
        setSet({ ...found, here: firstTimes(state.answered) });
        setFault(undefined);
        setIsAsking(false);
        setState((before) => filled(before, found.next));
      },
      (why: Fault) => setFault(why),
    );
  }, [id, labeller, count < FEW, waiting > 0]);
  useEffect(() => {
    for (const { left, right } of state.queue.slice(1, 4))
      for (const src of [left, right]) new Image().src = src;
  }, [state.queue]);
  const actions = useMemo((): Action[] => {
    const give = (answer: string) => () => {
      const seconds = (performance.now() - shownAt.current) / 1000;
      const step = shownAt.current > 0 ? answered(state, answer, { seconds, id: voteId() }) : undefined;
      if (!step) return;
      shownAt.current = 0;
      setState(step.state);
      outbox.add(step.ballot);
    };
    const undo = (): void => {
      const step = undone(state, voteId());
      if (!step) return;
      shownAt.current = 0;
      setState(step.state);
      outbox.add(step.ballot);
    };
    return [
      { label: "The left one", key: "ArrowLeft", run: give("left") },
      { label: "The right one", key: "ArrowRight", run: give("right") },
      { label: "Equally good", key: "ArrowDown", run: give("tie") },
      { label: "Both bad", key: "b", run: give("both bad") },
      { label: "Skip", key: "s", run: give("skip") },
      { label: "Undo", key: "z", run: undo },
    ];
  }, [state, outbox]);
  const [chooseLeft, chooseRight, ...others] = actions as [Action, Action, ...Action[]];
  const pair = state.queue[0];
  const total = set?.set.pairs ?? 0;
  const done = set ? judgedOf(set, state.answered) : 0;
  return (
    <>
      {outbox.trouble && (
        <div class="fault" role="alert">
          <p>
            {outbox.trouble.message} {outbox.waiting} {outbox.waiting === 1 ? "vote is" : "votes are"} not
            stored yet; keep this page open.
          </p>
          <p class="dim">{outbox.trouble.hint}</p>
        </div>
      )}
      {outbox.refused.map((why) => (
        <FaultWords key={why.message} fault={{ ...why, message: `A vote was refused: ${why.message}` }} />
      ))}
      {fault && <FaultWords fault={fault} />}
      {pair ? (
        <PairToJudge
          key={`${pair.pair} ${pair.repeat}`}
          pair={pair}
          left={chooseLeft.run}
          right={chooseRight.run}
          shown={() => (shownAt.current = performance.now())}
        />
      ) : (
        <p class="panel">{isAsking ? "Looking for pairs …" : "Every pair has its votes. Thank you!"}</p>
      )}
      <div class="bar">
        {pair &&
          others.map(({ label, key, run }) => (
            <button
              type="button"
              key={key}
              onClick={run}
              disabled={key === "z" && state.answered.length === 0}
            >
              {label}
            </button>
          ))}
        <Shortcuts actions={actions} />
      </div>
      {!pair && !isAsking && waiting === 0 && rename && <JudgingResultsView id={id} />}
      <p class="dim">
        {total > 0 && <progress value={done} max={total} aria-label="Judged" />} {labeller}: {done} of {total}{" "}
        judged
        {rename && (
          <>
            {" "}
            · <a href={`/judge/${id}/results`}>votes so far</a> ·{" "}
            <button type="button" class="quiet" onClick={rename}>
              another person
            </button>
          </>
        )}
      </p>
    </>
  );
}

/** Both pictures are decoded before either shows: who sees one first would judge it first. */
function PairToJudge({
  pair,
  left,
  right,
  shown,
}: {
  pair: Pair;
  left: () => void;
  right: () => void;
  shown: () => void;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const [isReady, setIsReady] = useState(false);
  useLayoutEffect(() => {
    let isGone = false;
    const images = [...(frame.current as HTMLDivElement).querySelectorAll("img")];
    Promise.allSettled(images.map((image) => image.decode())).then(() => {
      if (isGone) return;
      setIsReady(true);
      shown();
    });
    return () => {
      isGone = true;
    };
  }, []);
  return (
    <>
      <p class="essence">{pair.prompt}</p>
      <div class={`choices ${isReady ? "" : "waiting"}`} ref={frame}>
        <button type="button" class="picture" onClick={left}>
          <img src={pair.left} alt="left" />
        </button>
        <button type="button" class="picture" onClick={right}>
          <img src={pair.right} alt="right" />
        </button>
      </div>
    </>
  );
}

/** An ID that nobody else draws. Not `randomUUID`, which a browser has only where the address is its own machine's or encrypted. */
const voteId = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function stored(key: string): string {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function keep(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Asked for again at the next visit.
  }
}
