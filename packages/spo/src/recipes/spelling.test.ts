import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  isSpelled,
  kebabCase,
  parseOverrides,
  resolveConfig,
  type Setting,
  settingsHelp,
  settingsOf,
  withOptionNames,
} from "@spo/records/config";
import { afterAll, describe, expect, test } from "vitest";
import { SCHEMAS } from "../schemas.js";

const snakeCase = (name: string): string => kebabCase(name).replaceAll("-", "_");

/** A word that a setting takes on the command line. */
const wordFor = ({ kind, type }: Setting): string =>
  kind === "number" ? "1" : (type.split("|")[0] as string);

describe("a name", () => {
  test.each([
    ["guidanceScale", "guidance-scale"],
    ["guidance_scale", "guidance-scale"],
    ["guidance-scale", "guidance-scale"],
    ["optimizer.weightDecay", "optimizer.weight-decay"],
    ["seed", "seed"],
  ])("%s is shown as %s", (name, shown) => {
    expect(kebabCase(name)).toBe(shown);
    expect(isSpelled(name, shown)).toBe(true);
  });

  test("is no other, and what it was called before is the new one", () => {
    expect(isSpelled("guidance", "guidanceScale")).toBe(true);
    expect(isSpelled("out", "output")).toBe(true);
    expect(isSpelled("sampling.guidance", "sampling.guidanceScale")).toBe(true);
    expect(isSpelled("from", "prompts")).toBe(true);
    expect(isSpelled("guidance-scale", "guidance")).toBe(false);
    expect(isSpelled("guidancescale", "guidanceScale")).toBe(false);
    expect(isSpelled("constructor", "toString")).toBe(false);
  });

  test("in a text is shown as an option, where it is a name and no word", () => {
    const names = ["evalSplit", "split", "optimizer.weightDecay", "firstBranch"];
    expect(withOptionNames("pairs of evalSplit, one split; firstBranch + 1", names)).toBe(
      "pairs of --eval-split, one split; --first-branch + 1",
    );
    expect(withOptionNames("optimizer.weightDecay. ./evalSplit/x evalSplits", names)).toBe(
      "--optimizer.weight-decay. ./evalSplit/x evalSplits",
    );
  });
});

const folder = mkdtempSync(join(tmpdir(), "spo-spelling-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(Object.entries(SCHEMAS))("each setting of %s", (_, schema) => {
  const settings = settingsOf(schema);

  test("is understood in three spellings, and shown in one", () => {
    for (const setting of settings) {
      const [kebab, snake] = [kebabCase(setting.path), snakeCase(setting.path)];
      const [expected, ...others] = [setting.path, kebab, snake].flatMap((name) => [
        parseOverrides(schema, [`--${name}`, wordFor(setting)]).settings,
        parseOverrides(schema, [`${name}=${wordFor(setting)}`]).settings,
      ]);
      for (const other of others) expect(other).toEqual(expected);
      expect(parseOverrides(schema, [`--${kebab}`, wordFor(setting)]).paths).toEqual([setting.path]);
    }
    const help = settingsHelp(schema, { width: 200 });
    for (const { path } of settings) expect(help).toContain(`--${kebabCase(path)} <`);
    expect(help).not.toMatch(/--[\w.-]*([A-Z]|_)/);
    expect(new Set(settings.map(({ path }) => kebabCase(path))).size).toBe(settings.length);
  });

  test("is refused in a file that spells it otherwise, with the name that it has there", async () => {
    const file = join(folder, "config.json");
    for (const { path } of settings)
      for (const spelled of [kebabCase(path), snakeCase(path)]) {
        if (spelled === path) continue;
        const [key = "", ...outer] = spelled.split(".").reverse();
        const around = path.split(".").slice(0, outer.length).reverse();
        const config = around.reduce<object>((inner, name) => ({ [name]: inner }), { [key]: 1 });
        writeFileSync(file, JSON.stringify(config));
        await expect(resolveConfig(schema, { args: [file] })).rejects.toThrow(`did you mean ${path}?`);
      }
  });
});
