// What a hub's refusal means for the user.
import { UserError } from "@spo/torch/files";
import type { HubId } from "./hub-id.js";

/** What an error answer says. */
export interface Refusal {
  status: number;
  /** The hub's own word for it, e.g. `GatedRepo`. */
  code?: string | null;
  message?: string | null;
}

const LOG_IN =
  "Log in with `hf auth login`, or set HF_TOKEN to a token that may read it (the hub's settings, access tokens).";

/** The UserError for a refusal. endpoint: of the hub, for the address of its pages; loggedIn: whether a token was sent. */
export function refusalError(
  { repo, revision, file }: HubId,
  { status, code, message }: Refusal,
  { endpoint, loggedIn }: { endpoint: string; loggedIn: boolean },
): UserError {
  const fault = (text: string, hint: string) => new UserError(text, { code: "DATA", hint });
  if (code === "GatedRepo" || (status === 403 && code !== "DisabledRepo")) {
    const terms = `Open ${endpoint}/${repo} and accept its terms`;
    return fault(
      `${repo} is gated: its owner lets in only those who asked.`,
      loggedIn ? `${terms} with the account that your token belongs to.` : `${terms}. ${LOG_IN}`,
    );
  }
  if (status === 401 || code === "RepoNotFound") {
    return fault(
      `${repo} is not on ${endpoint}, or is private.`,
      loggedIn
        ? "Check its spelling, and that the account of your token may see it."
        : `Check its spelling. If it is private: ${LOG_IN}`,
    );
  }
  if (code === "RevisionNotFound") {
    return fault(
      `${repo} has no branch, tag or commit "${revision}".`,
      `${endpoint}/${repo}/tree/main lists them; without @revision the branch main is taken.`,
    );
  }
  if (status === 404) {
    return fault(
      file ? `${repo} has no file ${file} at ${revision}.` : `${repo} is not on ${endpoint}.`,
      `Look at ${endpoint}/${repo}.`,
    );
  }
  return fault(
    `${endpoint} answered ${status} for ${repo}${message ? `: ${message.slice(0, 200)}` : ""}.`,
    status >= 500 || status === 429
      ? "The hub is busy or down: run the same command again later; what has arrived is kept."
      : `Look at ${endpoint}/${repo}.`,
  );
}

/** A fault of the network below HTTP. */
export function unreachable(endpoint: string, cause: unknown): UserError {
  return new UserError(`${endpoint} cannot be reached: ${reasonOf(cause)}.`, {
    code: "ENVIRONMENT",
    hint: "Check the network and, behind a proxy, HTTPS_PROXY. With HF_HUB_OFFLINE=1 only the cache is used.",
    cause,
  });
}

const WORDS: Readonly<Record<string, string>> = {
  ENOTFOUND: "its name is not known",
  EAI_AGAIN: "its name cannot be looked up",
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was cut",
  UND_ERR_SOCKET: "the connection was cut",
  UND_ERR_CONNECT_TIMEOUT: "it did not answer in time",
  UND_ERR_HEADERS_TIMEOUT: "it did not answer in time",
  UND_ERR_BODY_TIMEOUT: "it fell silent",
};

/** The lowest cause in plain words. */
export function reasonOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const word = WORDS[(at as NodeJS.ErrnoException).code ?? ""];
    if (word) return word;
    if (!(at.cause instanceof Error)) return at.message;
  }
  return String(error);
}
