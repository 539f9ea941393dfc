import { expect, test } from "vitest";
import { type BatchOptions, imagesAtOnce } from "./batch-invariant.js";

test.each<[when: BatchOptions["batchInvariant"], cpu: number, cuda: number]>([
  ["auto", 1, 4],
  ["on", 1, 1],
  ["off", 4, 4],
])("--batch-invariant %s makes %i of 4 images at once on a CPU and %i on a GPU", (when, cpu, cuda) => {
  const options = { batch: 4, batchInvariant: when };
  expect(imagesAtOnce(options, "cpu")).toBe(cpu);
  expect(imagesAtOnce(options, "cuda:0")).toBe(cuda);
});
