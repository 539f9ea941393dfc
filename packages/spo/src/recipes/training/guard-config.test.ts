import { expect, test } from "vitest";
import { type GuardSettings, guardSettings, requireGuards } from "./guard-config.js";

const settings = (more: Partial<GuardSettings>): GuardSettings => ({
  ...guardSettings.guards.parse({}),
  ...more,
});
const of = { samples: 4, judges: ["spm:s"], hasScore: true };

test("guards that only watch ask for nothing", () => {
  expect(() =>
    requireGuards(settings({}), { samples: 0, judges: ["random"], hasScore: false }),
  ).not.toThrow();
  expect(() => requireGuards(settings({ minDiversity: 0.9, imagesPerPrompt: 2 }), of)).not.toThrow();
  expect(() => requireGuards(settings({ patience: 3, heldOutScorers: ["clip:c"] }), of)).not.toThrow();
});

test.each<[string, Partial<GuardSettings>, Partial<typeof of>, string]>([
  ["without a held-out scorer", { patience: 3 }, {}, "there are no held-out scorers"],
  ["without samples", { heldOutScorers: ["clip:c"] }, { samples: 0 }, "none are drawn"],
  ["without samples of several seeds", { imagesPerPrompt: 2 }, { samples: 0 }, "none are drawn"],
  ["of diversity with one sample a prompt", { minDiversity: 0.9 }, {}, "compares the samples of one prompt"],
  ["without a training score", { patience: 1, heldOutScorers: ["clip:c"] }, { hasScore: false }, "has none"],
  [
    "that hears the judge itself",
    { heldOutScorers: ["./j.js"] },
    { judges: ["spm:s", "./j.js"] },
    "is the judge that trains",
  ],
  ["that hears nobody", { heldOutScorers: ["spm"] }, {}, "names no scorer with its place"],
  ["that hears one twice", { heldOutScorers: ["clip:c", "clip:c"] }, {}, "named twice"],
])("a guard %s is refused", (_, more, input, message) => {
  expect(() => requireGuards(settings(more), { ...of, ...input })).toThrow(message);
});
