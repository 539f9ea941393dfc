import { expect, test } from "vitest";
import { launchPlace } from "./launch-place.js";

const torchrun = { RANK: "3", WORLD_SIZE: "8", MASTER_ADDR: "node-0", MASTER_PORT: "29500" };
const place = { rank: 3, size: 8, host: "node-0", port: 29_500, storeIsHeld: false, attempt: "0" };

test.each([
  ["nothing", {}, undefined],
  ["an address alone, which other programs set too", { MASTER_ADDR: "node-0" }, undefined],
  ["torchrun's four", torchrun, place],
  [
    "an agent that holds the store, on the second try",
    { ...torchrun, TORCHELASTIC_USE_AGENT_STORE: "True", TORCHELASTIC_RESTART_COUNT: "1" },
    { ...place, storeIsHeld: true, attempt: "1" },
  ],
  ["a process alone", { ...torchrun, RANK: "0", WORLD_SIZE: "1" }, { ...place, rank: 0, size: 1 }],
] as const)("of %s a process learns its place", (_, env, expected) => {
  expect(launchPlace(env)).toEqual(expected);
});

test.each([
  [{ WORLD_SIZE: "2" }, "WORLD_SIZE is set, but not RANK, MASTER_ADDR, MASTER_PORT"],
  [{ ...torchrun, MASTER_PORT: "" }, "RANK, WORLD_SIZE, MASTER_ADDR are set, but not MASTER_PORT"],
  [{ ...torchrun, RANK: "8" }, 'RANK is "8", and must be a whole number from 0 to 7'],
  [{ ...torchrun, RANK: "-1" }, 'RANK is "-1"'],
  [{ ...torchrun, RANK: "1.5" }, 'RANK is "1.5"'],
  [{ ...torchrun, WORLD_SIZE: "many" }, 'WORLD_SIZE is "many"'],
  [{ ...torchrun, WORLD_SIZE: "0", RANK: "0" }, 'WORLD_SIZE is "0"'],
  [
    { ...torchrun, MASTER_PORT: "70000" },
    'MASTER_PORT is "70000", and must be a whole number from 1 to 65535',
  ],
])("%j is refused, and the variable named", (env, words) => {
  expect(() => launchPlace(env)).toThrow(
    expect.objectContaining({ code: "ENVIRONMENT", message: expect.stringContaining(words) }),
  );
});
