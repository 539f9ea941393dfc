import { describe, expect, test } from "vitest";
import {
  type EvaluatedSet,
  type EvaluationData,
  evaluationEssence,
  evaluationPage,
  metricVerdict,
  warningsOf,
} from "./evaluation-page.js";

const around = (value: number, reach = 0.1) => ({ value, low: value - reach, high: value + reach });

const base: EvaluatedSet = {
  name: "base",
  source: "./sd15",
  images: 20,
  prompts: 10,
  metrics: { pickscore: around(20) },
  diversity: around(0.5),
};
const other = (wins: number, signTest: number, diversity: number): EvaluatedSet => ({
  ...base,
  name: "spo <b>",
  pairs: 20,
  metrics: { pickscore: { ...around(21), difference: around(1), wins: around(wins), signTest } },
  diversity: around(diversity),
  drift: around(0.2),
});

describe("an evaluation's page", () => {
  test("calls a set better only where the win rate and the sign test agree", () => {
    expect(metricVerdict({ wins: around(0.8), signTest: 0.01 })).toBe("better");
    expect(metricVerdict({ wins: around(0.2), signTest: 0.01 })).toBe("worse");
    expect(metricVerdict({ wins: around(0.8), signTest: 0.05 })).toBe("unclear");
    expect(metricVerdict({ wins: around(0.55), signTest: 0.01 })).toBe("unclear");
    expect(metricVerdict({})).toBeUndefined();
  });

  test("warns of a better score with less diversity, and of neither alone", () => {
    expect(warningsOf([base, other(0.8, 0.001, 0.2)])[0]).toContain("better by pickscore");
    expect(warningsOf([base, other(0.8, 0.001, 0.5)])).toEqual([]);
    expect(warningsOf([base, other(0.5, 1, 0.2)])).toEqual([]);
    expect(warningsOf([base])).toEqual([]);
  });

  test("shows every figure, escapes names, and needs nothing from outside", () => {
    const data: EvaluationData = {
      metrics: [{ name: "pickscore", spec: "pickscore:./x" }],
      featuresOf: "pickscore",
      sets: [base, other(0.8, 0.00001, 0.2)],
      pictures: [{ prompt: "a <i>cat</i>", seed: 0, images: [new Uint8Array([1, 2]), undefined] }],
      settings: { steps: 20 },
    };
    const page = evaluationPage(data);
    for (const text of [
      "spo &#60;b&#62; against base",
      "80",
      "p < 0.0001".replace("<", "&#60;"),
      "a &#60;i&#62;cat",
      "AQI=",
    ])
      expect(page).toContain(text);
    expect(page).not.toMatch(/<script|https?:|<b>|<i>/);
    const lines = evaluationEssence(data);
    expect(lines[0]).toBe("pickscore");
    expect(lines[2]).toMatch(/^ {2}spo <b> {2}21 .*\+1 .* of 20 pairs, p < 0\.0001$/);
    expect(lines).toContain("drift from base, by pickscore");
  });
});
