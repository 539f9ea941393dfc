// The address holds the view, so a link shares it and the back button goes back.
import { useEffect, useReducer } from "preact/hooks";

/** What an address shows. */
export interface Route {
  /** Of the path, without slashes around. */
  parts: string[];
  query: URLSearchParams;
}

export const routeOf = (address: { pathname: string; search: string }): Route => ({
  parts: address.pathname.split("/").filter(Boolean),
  query: new URLSearchParams(address.search),
});

const listeners = new Set<() => void>();

/** Goes to another view; replace: without a step in the history, as for a slider. */
export function go(to: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  for (const told of listeners) told();
}

/** Changes parts of the query; undefined takes one away. */
export function setQuery(changes: Record<string, string | undefined>, { replace = true } = {}): void {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) query.delete(key);
    else query.set(key, value);
  }
  const text = query.toString();
  go(`${location.pathname}${text ? `?${text}` : ""}`, { replace });
}

/** The route, kept up with. */
export function useRoute(): Route {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    listeners.add(redraw as () => void);
    addEventListener("popstate", redraw as () => void);
    return () => {
      listeners.delete(redraw as () => void);
      removeEventListener("popstate", redraw as () => void);
    };
  }, []);
  return routeOf(location);
}

/** Follows links of the page without loading it again; others, and those with a modifier, are left to the browser. */
export function followLinks(event: MouseEvent): void {
  const link = (event.target as Element | null)?.closest?.("a");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.target || link.hasAttribute("download") || link.origin !== location.origin)
    return;
  event.preventDefault();
  go(link.pathname + link.search);
}
