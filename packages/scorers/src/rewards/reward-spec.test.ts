import { describe, expect, test } from "vitest";
import { mapSpecPaths, parseRewardSpec, splitRewardSpecs, splitWeightedSpecs } from "./reward-spec.js";

describe("the spec of a metric", () => {
  test("is a name, a path and options", () => {
    expect(parseRewardSpec("pickscore:./a:b,tokenizer=c=d")).toEqual({
      kind: "pickscore",
      path: "./a:b",
      options: { tokenizer: "c=d" },
    });
    expect(parseRewardSpec("./judge.mjs")).toEqual({ kind: "own", path: "./judge.mjs" });
  });

  test("in a list keeps its options", () => {
    expect(splitRewardSpecs("pickscore:a,tokenizer=t,./own.ts,aesthetic:m.pth,clip=c")).toEqual([
      "pickscore:a,tokenizer=t",
      "./own.ts",
      "aesthetic:m.pth,clip=c",
    ]);
  });

  test.each([
    ["pikscore:x", "did you mean pickscore?"],
    ["pickscore", "says not where its files are"],
    ["pickscore:", "says not where its files are"],
    ["pickscore:x,clip=y", 'has the option "clip"; pickscore takes tokenizer'],
    ["aesthetic:x,tokenizer=y", 'has the option "tokenizer"; aesthetic takes clip'],
    ["clip:x,tokenizer=", "gives no path for tokenizer"],
    ["./judge.mjs,tokenizer=x", "is none"],
  ])("%s is refused: %s", (text, message) => {
    expect(() => parseRewardSpec(text)).toThrow(message);
  });
});

describe("a list of scorers with weights", () => {
  const list = "0.7*spm,-2 * clip:a,tokenizer=t,./own.ts,1e-3*random";

  test("has a weight before each, or 1", () => {
    expect(splitWeightedSpecs(list)).toEqual([
      { weight: 0.7, spec: "spm" },
      { weight: -2, spec: "clip:a,tokenizer=t" },
      { weight: 1, spec: "./own.ts" },
      { weight: 0.001, spec: "random" },
    ]);
  });

  test("has other paths in it, its words and weights as they are", () => {
    expect(mapSpecPaths(list, (path, place) => `${place} ${path}`)).toBe(
      "0.7*spm,-2*clip:model a,tokenizer=model t,path ./own.ts,1e-3*random",
    );
    expect(mapSpecPaths("my/judge", () => "/judge")).toBe("/judge");
    expect(() => mapSpecPaths("clip:a,clip=b", String)).toThrow("clip takes tokenizer");
  });
});
