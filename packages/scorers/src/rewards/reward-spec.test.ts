import { describe, expect, test } from "vitest";
import { parseRewardSpec, splitRewardSpecs } from "./reward-spec.js";

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
