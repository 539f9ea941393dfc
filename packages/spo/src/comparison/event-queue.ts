/** Merges the events of concurrent work into one stream. */
export class EventQueue<E> {
  readonly #events: E[] = [];
  #isOver = false;
  #wake: () => void = () => {};

  push(event: E): void {
    this.#events.push(event);
    this.#wake();
  }

  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  /** Until `end`, and all that came before it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<E> {
    for (;;) {
      yield* this.#events.splice(0);
      if (this.#events.length > 0) continue;
      if (this.#isOver) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
