// What keys do. One list makes the shortcuts and the help.
import { useEffect, useState } from "preact/hooks";

/** Something that a view can do. */
export interface Action {
  label: string;
  /** As `KeyboardEvent.key` has it. */
  key: string;
  run: () => void;
}

const NAMES: Record<string, string> = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  " ": "space",
};

/** Keys that a field or a button with the focus needs for itself. */
function isTaken(event: KeyboardEvent): boolean {
  const target = event.target as Element | null;
  if (target?.closest("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]"))
    return true;
  return target?.closest("input[type=range]") !== null && event.key.startsWith("Arrow");
}

/** Listens for the keys of a view, and shows them on `?`. */
export function Shortcuts({ actions }: { actions: readonly Action[] }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.metaKey || event.ctrlKey || event.altKey || isTaken(event)) return;
      if (document.querySelector("dialog[open]:not(.keys)")) return; // a dialog has keys of its own
      const action = actions.find(({ key }) => key === event.key);
      if (action) action.run();
      else if (event.key === "?") setShown((before) => !before);
      else if (event.key === "Escape") setShown(false);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [actions]);
  return (
    <>
      <button type="button" class="quiet keys-button" aria-expanded={shown} onClick={() => setShown(!shown)}>
        Keys <kbd>?</kbd>
      </button>
      {shown && (
        <section class="keys panel" aria-label="Keys">
          <dl>
            {[...actions, { label: "Show or hide the keys", key: "?" }].map(({ label, key }) => (
              <div key={key}>
                <dt>
                  <kbd>{NAMES[key] ?? key}</kbd>
                </dt>
                <dd>{label}</dd>
              </div>
            ))}
          </dl>
        </section>
      )}
    </>
  );
}
