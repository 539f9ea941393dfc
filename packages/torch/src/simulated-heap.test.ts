import { describe, expect, test } from "vitest";
import { SimulatedHeap } from "./simulated-heap.js";

const MB = 1 << 20;
/** Whole megabytes, the allocator's own bytes aside. */
const resident = (heap: SimulatedHeap): number => Math.floor(heap.resident / MB);

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

  test("gives a block of 32 MB and more memory of its own, which goes when it is freed", () => {
    const heap = new SimulatedHeap();
    heap.allocate(1, 10 * MB);
    heap.allocate(2, 40 * MB);
    expect(resident(heap)).toBe(50);
    heap.free(2);
    expect(resident(heap)).toBe(10);
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
