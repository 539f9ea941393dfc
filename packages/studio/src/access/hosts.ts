// By which names the server may be called. A page elsewhere can have its own name point here (DNS rebinding), and the browser then takes
// this server for that page's own.

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** The name in a Host header, without its port: `[::1]` of `[::1]:80`; undefined for what is none. */
export function hostName(header: string): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[^:[\]/?#@\s]+)(?::\d{1,5})?$/i.exec(header)?.[1]?.toLowerCase();
}

/** Whether a Host header names this machine's loopback or one of the allowed names. */
export function isAllowedHost(header: string | null, allowed: readonly string[] = []): boolean {
  const name = hostName(header ?? "");
  return name !== undefined && [...LOOPBACK, ...allowed.map(bracketed)].includes(name);
}

/** Whether a server that listens there is seen by this machine alone. */
export const isLoopback = (host: string): boolean =>
  LOOPBACK.includes(bracketed(host)) || host.startsWith("127.");

/** An address as it stands in a URL. */
export const bracketed = (host: string): string =>
  host.includes(":") && !host.startsWith("[") ? `[${host.toLowerCase()}]` : host.toLowerCase();
