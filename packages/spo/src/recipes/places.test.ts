import {
  mapPlaces,
  modelText,
  pathText,
  placesIn,
  scorerText,
  settingsOf,
  someSettingsOf,
  withoutPlaces,
} from "@spo/records/config";
import { expect, test } from "vitest";
import { z } from "zod";
import { pathsOf, SCHEMAS, TrainSpoConfig } from "../schemas.js";

const Inner = z.strictObject({ init: modelText().describe("scorer"), steps: z.int().default(1) });
const schema = z.strictObject({
  model: modelText().describe("the base"),
  prompts: z.array(pathText()).min(1),
  heldOut: pathText().nullable().default(null).describe("prompts"),
  relabel: z.strictObject({ by: scorerText().optional(), threshold: z.number() }).optional(),
  spm: someSettingsOf(Inner).describe("settings of Inner"),
  trials: z.array(someSettingsOf(Inner)).default([]),
  betas: z.tuple([z.number(), z.number()]).default([0.9, 0.999]),
  name: z.string(),
});
const config = {
  model: "a/b",
  prompts: ["p", "q"],
  heldOut: null,
  relabel: { by: "clip:c", threshold: 0.5 },
  spm: { init: "i", steps: 2, unknown: "u" },
  trials: [{ steps: 3 }, { init: "j" }],
  betas: [0.9, 0.99],
  name: "n",
};

test("the places of a config are those that its schema names, within lists, objects and other settings too", () => {
  expect(placesIn(schema, config)).toEqual([
    { place: "model", text: "a/b" },
    { place: "path", text: "p" },
    { place: "path", text: "q" },
    { place: "scorer", text: "clip:c" },
    { place: "model", text: "i" },
    { place: "model", text: "j" },
  ]);
});

test("other texts stand in their places, and all else is as it was", () => {
  expect(mapPlaces(schema, config, (text, place) => `${place} ${text}`)).toEqual({
    ...config,
    model: "model a/b",
    prompts: ["path p", "path q"],
    relabel: { by: "scorer clip:c", threshold: 0.5 },
    spm: { init: "model i", steps: 2, unknown: "u" },
    trials: [{ steps: 3 }, { init: "model j" }],
  });
  expect(mapPlaces(schema, JSON.parse('{ "__proto__": { "model": "x" }, "name": "n" }'), String)).toEqual(
    JSON.parse('{ "__proto__": { "model": "x" }, "name": "n" }'),
  );
});

test.each(Object.entries(SCHEMAS))("a whole config of %s stays one where every place stays", (_, recipe) => {
  const texts = {
    model: "m",
    init: "i",
    spm: "s",
    prompts: "p",
    pairs: ["q"],
    output: "o",
    heldOut: "h",
    judge: "j",
    validator: "v",
  };
  const known = Object.entries(texts).filter(([key]) => Object.hasOwn(recipe.shape, key));
  const more =
    "search" in recipe.shape
      ? { spm: { init: "i" }, seconds: 9, search: { spo: [{}], dpo: [{}], seconds: 9 } }
      : {};
  const whole = recipe.parse({ ...Object.fromEntries(known), ...more });
  expect(mapPlaces(recipe, whole, (text) => text)).toEqual(whole);
});

test("the paths that a run may be moved with are also those within a scorer's words", () => {
  const judged = { ...config, relabel: { by: "0.5*clip:c,tokenizer=t,./own.ts", threshold: 0.5 } };
  const asked: string[] = [];
  const mapped = pathsOf(schema)(judged, (path) => {
    asked.push(path);
    return `/${path}`;
  });
  expect(asked).toEqual(["a/b", "p", "q", "t", "c", "./own.ts", "i", "j"]);
  expect(mapped).toMatchObject({ relabel: { by: "0.5*clip:/c,tokenizer=/t,/./own.ts" }, heldOut: null });
  expect(pathsOf(TrainSpoConfig)({ judge: "0.7*spm,0.3*random" }, () => "other")).toEqual({
    judge: "0.7*spm,0.3*random",
  });
});

test("a config without places has none of them, whether they were said or not", () => {
  expect(withoutPlaces(schema, config)).toEqual({
    relabel: { threshold: 0.5 },
    spm: { steps: 2, unknown: "u" },
    trials: [{ steps: 3 }, {}],
    betas: [0.9, 0.99],
    name: "n",
  });
  expect(withoutPlaces(schema, config, ["scorer"])).toMatchObject({ relabel: config.relabel });
});

// A text is free only where it is written down here, so that no new place is forgotten.
test("each text among the settings of recipes is a place, or one of few others", () => {
  const free = Object.entries(SCHEMAS).flatMap(([kind, recipe]) =>
    settingsOf(recipe)
      .filter(({ type, place }) => /^(list of )?text$/.test(type) && place === undefined)
      .map(({ path }) => `${kind} ${path}`),
  );
  expect(free.filter((name) => !/ (device|split|evalSplit|targets)$/.test(name))).toEqual([]);
});
