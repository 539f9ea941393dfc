import { expect, test } from "vitest";
import { quickstartFiles } from "./quickstart-families.js";

test("a judge's settings are its own, and only the usual ones have a result with random labels beside them", () => {
  expect(quickstartFiles()).toEqual({
    ...{ model: "model", settings: "quickstart.json", control: "random-labels.json" },
  });
  expect(quickstartFiles("sd15", "pixel")).toEqual(quickstartFiles());
  expect(quickstartFiles("sd15", "latent")).toEqual({ model: "model", settings: "quickstart-latent.json" });
  expect(quickstartFiles("sd3").settings).toBe("quickstart-sd3.json");
});

test("a judge that a family has no settings for is refused by name", () => {
  expect(() => quickstartFiles("sd3", "latent")).toThrow("no latent judge for the family sd3");
});
