import type { TextToImage } from "@spo/diffusion";
import { expect, test } from "vitest";
import { ModelsInTurn } from "./models-in-turn.js";

test("a model is loaded once while it is asked for, and freed before the next one is loaded", () => {
  const told: string[] = [];
  const models = new ModelsInTurn((path) => {
    told.push(`load ${path}`);
    return { models: { unet: { dispose: () => told.push(`free ${path}`) } } } as unknown as TextToImage;
  });
  const first = models.at("a");
  expect(models.at("a")).toBe(first);
  expect(models.at("b").loras).not.toBe(first.loras);
  models.free();
  models.at("a");
  expect(told).toEqual(["load a", "free a", "load b", "free b", "load a"]);
});
