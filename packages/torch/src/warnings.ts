// Warnings about what a reader repairs or passes over. No tensor code.

type Listener = (message: string) => void;

const listeners = new Set<Listener>();

/**
 * Warns of something that a person should know and that stops nothing: a value that is read as another, an entry that is passed over.
 *
 * Without a listener it becomes one of Node's own warnings (`process.emitWarning`), of the type `SpoWarning`. message: one sentence or
 * more.
 */
export function warn(message: string): void {
  if (listeners.size === 0) process.emitWarning(message, "SpoWarning");
  for (const listener of listeners) listener(message);
}

/** Calls `listener` with every warning from now on, in place of Node's own way → a function that stops it. */
export function onWarning(listener: Listener): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
