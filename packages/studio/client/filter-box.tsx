// The words that a list is filtered by, in the address.
import type { ComponentChildren } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { Shortcuts } from "./actions.tsx";
import { setQuery } from "./route.ts";

/** A field for `q` of the address, that `/` goes to. children: what else chooses, beside it. what: as `the runs`. */
export function FilterBox({
  what,
  words,
  children,
}: {
  what: string;
  words: string;
  children: ComponentChildren;
}) {
  const field = useRef<HTMLInputElement>(null);
  const actions = useMemo(
    () => [{ label: `Filter ${what}`, key: "/", run: () => field.current?.focus() }],
    [what],
  );
  return (
    <div class="bar">
      <label>
        Filter{" "}
        <input
          ref={field}
          type="search"
          value={words}
          onInput={(event) => setQuery({ q: event.currentTarget.value || undefined })}
        />
      </label>
      {children}
      <Shortcuts actions={actions} />
    </div>
  );
}

/** Whether each of the words stands in a text. */
export function fitsWords(words: string, text: string): boolean {
  const found = text.toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => found.includes(word));
}
