// Votes on their way to the server. Each is kept in the browser until the server has said that it is on the disk, also over a reload; sent
// again, it is the same vote by its ID.
import type { Fault } from "../src/api.ts";

/** An answer as the server takes it. */
export interface Ballot {
  id: string;
  pair: string;
  labeller: string;
  answer: string;
  seconds: number;
  repeat: boolean;
}

/** How sending ended: kept, refused for good, or to be tried again. */
export type Sent = { kept: true } | { refused: Fault } | { again: Fault };

const [FIRST_WAIT_MS, MOST_WAIT_MS] = [500, 10_000];

/** What an outbox works with. */
export interface OutboxOptions {
  store: Pick<Storage, "getItem" | "setItem">;
  send: (ballot: Ballot) => Promise<Sent>;
  /** Called when something has changed. */
  told: () => void;
  /** Before a vote is sent again. */
  wait?: (ms: number) => Promise<void>;
}

const paused = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Votes of one set that are not yet known to be kept, oldest first. */
export class Outbox {
  readonly #store: Pick<Storage, "getItem" | "setItem">;
  readonly #key: string;
  readonly #send: (ballot: Ballot) => Promise<Sent>;
  readonly #told: () => void;
  readonly #wait: (ms: number) => Promise<void>;
  #waiting: Ballot[];
  #isSending = false;
  /** Why votes wait, while they do. */
  trouble?: Fault;
  /** Votes that the server does not take. */
  refused: Fault[] = [];

  constructor(key: string, { store, send, told, wait = paused }: OutboxOptions) {
    this.#store = store;
    this.#key = key;
    this.#send = send;
    this.#told = told;
    this.#wait = wait;
    this.#waiting = storedIn(store, key);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  add(ballot: Ballot): void {
    this.#waiting.push(ballot);
    this.#keep();
    void this.run();
  }

  /** Sends all that waits, in order; tries again until it is kept or refused. */
  async run(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    for (let pause = FIRST_WAIT_MS; this.#waiting.length > 0; ) {
      const sent = await this.#send(this.#waiting[0] as Ballot);
      if ("again" in sent) {
        this.trouble = sent.again;
        this.#told();
        await this.#wait(pause);
        pause = Math.min(MOST_WAIT_MS, 2 * pause);
        continue;
      }
      if ("refused" in sent) this.refused.push(sent.refused);
      this.trouble = undefined;
      pause = FIRST_WAIT_MS;
      this.#waiting.shift();
      this.#keep();
      this.#told();
    }
    this.#isSending = false;
  }

  #keep(): void {
    try {
      this.#store.setItem(this.#key, JSON.stringify(this.#waiting));
    } catch {
      // A browser that stores nothing: votes are kept as long as the page is open.
    }
  }
}

function storedIn(store: Pick<Storage, "getItem">, key: string): Ballot[] {
  try {
    const found: unknown = JSON.parse(store.getItem(key) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** Sends a vote to a set. */
export async function sendVote(set: string, ballot: Ballot): Promise<Sent> {
  const lost: Fault = {
    code: "ENVIRONMENT",
    message: "Studio does not answer.",
    hint: "Votes wait here and are sent when it does.",
  };
  let response: Response;
  try {
    response = await fetch(`/api/judging/${set}/votes`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ballot),
    });
  } catch {
    return { again: lost };
  }
  if (response.ok) return { kept: true };
  const fault = (await response.json().catch(() => lost)) as Fault;
  // Of a full disk, a server that ends, or a token that is old, the vote is not to blame.
  return response.status >= 500 || response.status === 401 || response.status === 429
    ? { again: fault }
    : { refused: fault };
}
