// All requests to the network: token, redirects, proxies, time limits, and waits that a hub asks for.
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "@spo/torch/files";
import { type Dispatcher, EnvHttpProxyAgent, fetch as undiciFetch } from "undici";
import { type Refusal, reasonOf, unreachable } from "./faults.js";

/** How patient the client is. */
export interface Patience {
  /** Without any byte of an answer, milliseconds. */
  silenceMs: number;
  /** To connect, milliseconds. */
  connectMs: number;
  /** Tries again after a cut, a busy hub or a silence, one after the other and without a new byte. */
  retries: number;
  /** Before the first new try, milliseconds; doubles each time. */
  backoffMs: number;
  /** The longest wait that a hub may ask for, milliseconds. */
  longestWaitMs: number;
}

export const PATIENCE: Patience = {
  silenceMs: 30_000,
  connectMs: 10_000,
  retries: 5,
  backoffMs: 500,
  longestWaitMs: 120_000,
};

/** Told before each wait. */
export type OnRetry = (reason: string, waitMs: number) => void;

/** An answer that is an error and will not pass by itself. */
export class HubRefusal extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(`status ${refusal.status}`);
    this.refusal = refusal;
  }
}

export interface HubClient {
  /** `fetch`, for URLs of the hub and what it redirects to. Throws HubRefusal, UserError, or the signal's reason. */
  fetch: typeof fetch;
  close(): Promise<void>;
}

const PASSING = [408, 429, 500, 502, 503, 504];
const MAX_REDIRECTS = 8;

/**
 * A client of one hub. Redirects are followed by hand, and the token goes only to the origin of `endpoint`: storage on another host gets
 * a signed address instead. Proxies are those of HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
 */
export function hubClient({
  endpoint,
  token,
  patience,
  signal,
  onRetry,
}: {
  endpoint: string;
  token?: string;
  patience: Patience;
  signal?: AbortSignal;
  onRetry?: OnRetry;
}): HubClient {
  const dispatcher = new EnvHttpProxyAgent({
    headersTimeout: patience.silenceMs,
    bodyTimeout: patience.silenceMs,
    connect: { timeout: patience.connectMs },
  });
  const home = new URL(endpoint).origin;
  // A hub that was never reached is tried once more only: a machine without a network should say so soon.
  let reached = false;

  /** One request and its redirects. */
  async function follow(
    address: string,
    init: RequestInit,
  ): Promise<{ response: Response; atHome: boolean }> {
    let url = new URL(address);
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const headers = new Headers(init.headers);
      headers.delete("authorization");
      headers.set("user-agent", "spo");
      if (token && url.origin === home) headers.set("authorization", `Bearer ${token}`);
      const response = await request(url, { ...init, headers, redirect: "manual", signal }, dispatcher);
      const location = response.headers.get("location");
      if (response.status < 300 || response.status >= 400 || !location)
        return { response, atHome: url.origin === home };
      await response.body?.cancel();
      url = new URL(location, url);
      if (!/^https?:$/.test(url.protocol)) break;
    }
    throw new UserError(`${address} redirects without end.`, { code: "ENVIRONMENT" });
  }

  async function patientFetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const address = input instanceof Request ? input.url : String(input);
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      let reason: string;
      let asked = 0;
      try {
        const { response, atHome } = await follow(address, init);
        reached = true;
        if (response.ok) return response;
        const refusal = await refusalOf(response);
        // Elsewhere 403 means that the signed address is too old: the hub gives a new one.
        const passes = PASSING.includes(response.status) || (response.status === 403 && !atHome);
        if (!passes || tries >= patience.retries) throw new HubRefusal(refusal);
        asked = retryAfterMs(response.headers.get("retry-after"));
        reason = `the hub answered ${response.status}`;
        if (asked > patience.longestWaitMs) {
          throw new UserError(`${endpoint} asks to wait ${Math.ceil(asked / 1000)} seconds.`, {
            code: "ENVIRONMENT",
            hint: "Run the same command again after that time; what has arrived is kept.",
          });
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof HubRefusal || error instanceof UserError) throw error;
        if (tries >= (reached ? patience.retries : 1)) throw unreachable(endpoint, error);
        reason = reasonOf(error);
      }
      await pause(tries, { patience, atLeastMs: asked, reason, signal, onRetry });
    }
  }

  return { fetch: patientFetch as typeof fetch, close: () => dispatcher.close() };
}

/** Waits before try number `tries` + 1: twice as long each time, and no less than the hub asked for. */
export async function pause(
  tries: number,
  {
    patience,
    reason,
    atLeastMs = 0,
    signal,
    onRetry,
  }: { patience: Patience; reason: string; atLeastMs?: number; signal?: AbortSignal; onRetry?: OnRetry },
): Promise<void> {
  const wait = Math.max(atLeastMs, Math.min(patience.backoffMs * 2 ** tries, 8000));
  onRetry?.(reason, wait);
  await sleep(wait, undefined, { signal }).catch((error) => {
    throw signal?.aborted ? signal.reason : error;
  });
}

// undici's own fetch, not Node's: its dispatcher knows proxies on every Node that we support. The types of the two differ by name only.
const request = (url: URL, init: RequestInit, dispatcher: Dispatcher): Promise<Response> =>
  (undiciFetch as unknown as (url: URL, init: object) => Promise<Response>)(url, { ...init, dispatcher });

async function refusalOf(response: Response): Promise<Refusal> {
  let message = response.headers.get("x-error-message");
  try {
    message ??= ((await response.json()) as { error?: string }).error ?? null;
  } catch {
    // Not in JSON: the status says enough.
  }
  return { status: response.status, code: response.headers.get("x-error-code"), message };
}

/** Seconds or a date → milliseconds from now. */
function retryAfterMs(header: string | null): number {
  if (!header) return 0;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
