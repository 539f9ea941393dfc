// @ts-check
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** `$XDG_CACHE_HOME/spo`, by default `~/.cache/spo`. */
export function cacheFolder() {
  const base = process.env.XDG_CACHE_HOME;
  // The XDG rules say that a relative path is to be ignored.
  return join(base && isAbsolute(base) ? base : join(homedir(), ".cache"), "spo");
}
