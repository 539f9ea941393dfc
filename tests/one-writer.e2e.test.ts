// A run has one writer, however many open it at the same moment. `node tests/one-writer.mjs` does the amount of a release.
import { describe, expect, test } from "vitest";
import { hasNamespaces, race } from "./one-writer.mjs";

const ROUNDS = 8;

describe.each([2, 6])("of %i processes that open a run at the same moment", (processes) => {
  test.each([
    ["a new one", false],
    ["one with a dead process's lock", true],
  ])("one gets %s", async (_, stale) => {
    expect(await race({ processes, rounds: ROUNDS, stale })).toEqual({
      rounds: ROUNDS,
      winners: ROUNDS,
      twoWriters: 0,
      faults: [],
    });
  });
});

// Where this user makes no pid namespaces, the owner's words in the file stand for one: native/lib/lock.test.mjs.
test.runIf(hasNamespaces)("so too when half of them are in other pid namespaces", async () => {
  expect(await race({ processes: 4, rounds: 2, stale: true, namespaces: true })).toMatchObject({
    winners: 2,
    twoWriters: 0,
    faults: [],
  });
});
