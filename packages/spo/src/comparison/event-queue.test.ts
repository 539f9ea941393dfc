import { expect, test } from "vitest";
import { EventQueue } from "./event-queue.js";

test("a queue gives all events in order, those before it was read and those that come while it waits, and then ends", async () => {
  const queue = new EventQueue<number>();
  queue.push(1);
  queue.push(2);
  setTimeout(() => queue.push(3), 5);
  setTimeout(() => {
    queue.push(4);
    queue.end();
  }, 10);
  const seen: number[] = [];
  for await (const event of queue) seen.push(event);
  expect(seen).toEqual([1, 2, 3, 4]);
});
