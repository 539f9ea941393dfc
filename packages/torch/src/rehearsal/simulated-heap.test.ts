import { describe, expect, test } from "vitest";
import { SimulatedHeap, SimulatedProcess } from "./simulated-heap.js";

const MB = 1 << 20;

/** Whole megabytes, the allocator's own bytes aside. */
const resident = (heap: SimulatedHeap): number => Math.floor(heap.resident / MB);

describe("a process", () => {
  /** [block, megabytes; negative: freed] → most megabytes at once. */
  const play = (process: SimulatedProcess, ...events: [number, number][]): number =>
    Math.floor(process.play(Float64Array.from(events.flatMap(([block, size]) => [block, size * MB]))) / MB);

  test("has large blocks apart: what was freed serves larger and smaller ones", () => {
    const process = new SimulatedProcess();
    expect(play(process, [1, 10], [2, 20], [1, -10], [3, 10], [2, -20])).toBe(30);
    expect(play(process, [4, 15], [5, 5])).toBe(30);
    expect(play(process, [6, 1])).toBe(31);
    expect(play(process, [6, -1], [7, 9])).toBe(39); // the one of 1 grows
  });

  test("keeps of them no more than was ever in use, or 128 MiB together with what is in use", () => {
    const process = new SimulatedProcess();
    const small = Array.from({ length: 10 }, (_, i) => i + 1);
    const made = small.map((block): [number, number] => [block, 5]);
    const freed = small.map((block): [number, number] => [block, -5]);
    expect(play(process, ...made, [11, 60], ...freed)).toBe(110);
    expect(play(process, [12, 60])).toBe(120 + 5); // one of the ten grows, one of nine is kept
    expect(play(process, [13, 100])).toBe(220);
    expect(play(process, [13, -100], [14, 40], [15, 70])).toBe(220 + 10); // the rest of 60 grows
  });

  test("gives blocks back to where they are from, whichever thread frees them", () => {
    const process = new SimulatedProcess();
    for (let i = 1; i < 100; i += 2)
      expect(play(process, [i, 0.5], [-i, -0.5], [-(i + 1), 5], [i + 1, -5])).toBe(5);
  });
});

describe("a heap", () => {
  test("keeps what was freed, and gives it out again", () => {
    const heap = new SimulatedHeap();
    heap.allocate(1, 20 * MB);
    heap.free(1);
    expect(resident(heap)).toBe(20);
    heap.allocate(2, 10 * MB);
    expect(resident(heap)).toBe(20);
  });

  test("joins neighbours that are free: two of ten hold one of twenty", () => {
    const heap = new SimulatedHeap();
    for (const block of [1, 2, 3]) heap.allocate(block, 10 * MB);
    heap.free(2);
    heap.free(1);
    heap.allocate(4, 19 * MB);
    expect(resident(heap)).toBe(30);
  });

  test("cannot use a hole that is too small, nor one of the very size: an aligned block needs room around it", () => {
    for (const wanted of [10 * MB, 11 * MB]) {
      const heap = new SimulatedHeap();
      for (const block of [1, 2]) heap.allocate(block, 10 * MB);
      heap.free(1);
      heap.allocate(3, wanted);
      expect(resident(heap)).toBe(20 + wanted / MB);
    }
  });

  test("gives its end back when 512 MB of it are free", () => {
    const heap = new SimulatedHeap();
    for (let block = 0; block < 30; block++) heap.allocate(block, 20 * MB);
    for (let block = 29; block > 0; block--) heap.free(block);
    expect(resident(heap)).toBeLessThan(120);
  });

  test("leaves blocks alone that it has not given", () => {
    const heap = new SimulatedHeap();
    heap.free(7);
    expect(heap.resident).toBe(0);
  });
});
