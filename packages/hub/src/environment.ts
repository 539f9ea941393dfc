// The environment variables of Python's huggingface_hub, read as it reads them: where the cache is, which hub is asked, and with which
// token.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Where models come from and where they are kept. */
export interface HubEnvironment {
  /** The folder that holds `models--org--name`. */
  cache: string;
  /** Without a slash at its end. */
  endpoint: string;
  /** Nothing may be asked of the network. */
  offline: boolean;
  token?: string;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** Reads HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN, HF_TOKEN_PATH, XDG_CACHE_HOME and the older names of these. */
export function hubEnvironment(variables: Variables = process.env): HubEnvironment {
  const home = expand(
    variables.HF_HOME || join(variables.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"),
    variables,
  );
  return {
    cache: expand(variables.HF_HUB_CACHE || variables.HUGGINGFACE_HUB_CACHE || join(home, "hub"), variables),
    endpoint: (variables.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, ""),
    offline: isTrue(variables.HF_HUB_OFFLINE || variables.TRANSFORMERS_OFFLINE),
    token: readToken(variables, home),
  };
}

function readToken(variables: Variables, home: string): string | undefined {
  if (isTrue(variables.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const given = (variables.HF_TOKEN || variables.HUGGING_FACE_HUB_TOKEN)?.trim();
  if (given) return given;
  try {
    return (
      readFileSync(expand(variables.HF_TOKEN_PATH || join(home, "token"), variables), "utf8").trim() ||
      undefined
    );
  } catch {
    return undefined; // not logged in: most models need no token
  }
}

const isTrue = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? "");

/** `~` and `$NAME` at their places in a path. */
function expand(path: string, variables: Variables): string {
  return path
    .replace(/^~(?=$|[/\\])/, homedir())
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, a, b) => variables[a ?? b] ?? whole);
}
