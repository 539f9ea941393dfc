import { expect, test } from "vitest";
import { quickstartFiles } from "./quickstart-families.js";

test("each family and judge has settings and a result with random labels of its own; the usual ones have the short names", () => {
  const usual = { model: "model", settings: "quickstart.json", control: "random-labels.json" };
  expect(quickstartFiles()).toEqual(usual);
  expect(quickstartFiles("sd15", "latent")).toEqual(usual);
  expect(quickstartFiles("sd15", "pixel")).toEqual({
    ...{ model: "model", settings: "quickstart-pixel.json", control: "random-labels-pixel.json" },
  });
  const flow = { model: "model-sd3", settings: "quickstart-sd3.json", control: "random-labels-sd3.json" };
  expect(quickstartFiles("sd3")).toEqual(flow);
  expect(quickstartFiles("sd3", "pixel")).toEqual(flow);
});

test("a judge that a family has no settings for is refused by name", () => {
  expect(() => quickstartFiles("sd3", "latent")).toThrow("no latent judge for the family sd3");
});
