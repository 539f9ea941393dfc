import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import {
  checkConfig,
  editDistance,
  nearest,
  parseOverrides,
  resolveConfig,
  settingsHelp,
  settingsOf,
} from "./index.js";

const folder = mkdtempSync(join(tmpdir(), "spo-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const Schema = z.strictObject({
  model: z.string().describe("folder in diffusers layout"),
  candidates: z.int().min(2).default(4).describe("x_{t-1} drawn from one x_t"),
  threshold: z.number().min(0).max(1).default(0.3),
  saveEvery: z.int().positive().default(10),
  resume: z.boolean().default(true),
  channels: z.array(z.int()).default([32, 64]),
  init: z.enum(["random", "clip"]).default("clip"),
  optimizer: z
    .strictObject({
      lr: z.number().positive().default(6e-5),
      betas: z.array(z.number()).length(2).default([0.9, 0.999]),
    })
    .prefault({}),
});
const resolve = (...args: string[]) =>
  resolveConfig(Schema, { args, presets: { small: { candidates: 2, optimizer: { lr: 1 } } } });

function messageOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).code).toBe("CONFIG");
    return (error as UserError).message;
  }
  throw new Error("nothing was thrown");
}

describe("a resolved config", () => {
  test("takes defaults, then presets, then files, then settings", async () => {
    const file = join(folder, "a.json");
    writeFileSync(file, `{ "optimizer": { "lr": 2 }, "channels": [1] }`);
    expect(await resolve("--model=m", "small", file, "threshold=.5")).toMatchObject({
      candidates: 2,
      threshold: 0.5,
      channels: [1],
      optimizer: { lr: 2, betas: [0.9, 0.999] },
    });
    expect((await resolve("small", "--optimizer.lr", "3e-5", "--model", "m")).optimizer.lr).toBe(3e-5);
  });

  test("comes from a module's default export, too", async () => {
    const file = join(folder, "b.mjs");
    writeFileSync(file, `export default { model: "m", resume: false };`);
    expect(await resolve(file)).toMatchObject({ model: "m", resume: false });
    writeFileSync(join(folder, "c.mjs"), "export const model = 1;");
    await expect(resolve(join(folder, "c.mjs"))).rejects.toThrow(/holds no object/);
    writeFileSync(join(folder, "d.mjs"), "throw new Error('oh')");
    await expect(resolve(join(folder, "d.mjs"))).rejects.toThrow(/cannot be read: oh/);
  });

  test("names a preset that was nearly meant", async () => {
    await expect(resolve("smal")).rejects.toThrow(/neither a file nor a preset; did you mean small\?/);
  });
});

describe("settings on the command line", () => {
  test("are read by the schema's types", () => {
    const { settings, words } = parseOverrides(Schema, [
      ..."x.json --model 7 --save-every 3 --no-resume --channels 1,2 optimizer.betas=[0,1]".split(" "),
    ]);
    expect(words).toEqual(["x.json"]);
    expect(settings).toEqual({
      model: "7",
      saveEvery: 3,
      resume: false,
      channels: [1, 2],
      optimizer: { betas: [0, 1] },
    });
    expect(parseOverrides(Schema, ["--resume", "yes", "--threshold", "-1"]).settings).toEqual({
      resume: true,
      threshold: -1,
    });
    expect(parseOverrides(Schema, ["--resume", "--model", "a=b"]).settings).toEqual({
      resume: true,
      model: "a=b",
    });
  });

  test("that are unknown or lack a value are listed all at once", () => {
    const text = messageOf(() =>
      parseOverrides(Schema, ["save_evry=3", "--candidate", "3", "--lr=1", "--quux", "--threshold"]),
    );
    expect(text.split("\n")).toEqual([
      "save_evry is no setting; did you mean save-every?",
      "--candidate is no setting; did you mean --candidates?",
      "--lr is no setting; did you mean --optimizer.lr?",
      "--quux is no setting",
      "--threshold needs a value (number)",
    ]);
  });
});

describe("a config that does not fit", () => {
  test("gets all its faults listed, with what was meant, expected and found", () => {
    const text = messageOf(() =>
      checkConfig(Schema, { candidates: 1, treshold: 0.5, optimizer: { lrr: 1, lr: "x" }, init: "clop" }),
    );
    expect(text).toMatchInlineSnapshot(`
      "6 settings do not fit.
        model          is missing: folder in diffusers layout
        candidates     expected number to be >=2, found 1
        init           expected one of "random"|"clip", found "clop"
        optimizer.lr   expected number, found "x"
        optimizer.lrr  is no setting; did you mean optimizer.lr?
        treshold       is no setting; did you mean threshold?"
    `);
  });

  test("has its faults named as they were written: in a file by the setting's name, else as an option", async () => {
    const file = join(folder, "faults.json");
    writeFileSync(file, `{ "saveEvery": 0, "optimizer": { "lr": -1 }, "channels": [0.5] }`);
    const fault = await resolve(file, "--optimizer.lr=-2", "--threshold", "7", "channels=1,0.5").catch(
      String,
    );
    expect(String(fault).match(/^ {2}\S+/gm)).toEqual([
      ..."  --model|  --threshold|  saveEvery|  --channels.1|  --optimizer.lr".split("|"),
    ]);
  });

  test("however strange it is, is refused as a UserError or is whole", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (config) => {
        try {
          expect(Schema.safeParse(checkConfig(Schema, config)).success).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("in any words of a command line, never reaches a prototype", async () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "--__proto__.x=1",
        "constructor.prototype.x=1",
        "__proto__=1",
        "--model",
        "m",
        "small",
        "--",
        "=",
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 6 }), async (args) => {
        await resolve(...args).catch((error) => expect(error).toBeInstanceOf(UserError));
        expect(({} as Record<string, unknown>).x).toBeUndefined();
      }),
      { numRuns: 500 },
    );
    const file = join(folder, "evil.json");
    writeFileSync(file, `{ "model": "m", "__proto__": { "candidates": 9 } }`);
    await expect(resolve(file)).rejects.toThrow(/__proto__ +is no setting/);
    writeFileSync(file, "[".repeat(200_000));
    await expect(resolve(file)).rejects.toBeInstanceOf(UserError);
    writeFileSync(file, `{ "model": "m", "threshold": 1e999 }`);
    await expect(resolve(file)).rejects.toThrow(/threshold/);
  });
});

test("help shows each setting with type, words and default", () => {
  expect(settingsHelp(Schema)).toMatchInlineSnapshot(`
    "  --model <text>                      folder in diffusers layout (required)
      --candidates <int>                  x_{t-1} drawn from one x_t (4)
      --threshold <number>                (0.3)
      --save-every <int>                  (10)
      --resume <yes|no>                   (true)
      --channels <list of int>            ([32,64])
      --init <random|clip>                ("clip")
      --optimizer.lr <number>             (6e-5)
      --optimizer.betas <list of number>  ([0.9,0.999])"
  `);
  expect(
    settingsOf(Schema)
      .filter(({ required }) => required)
      .map(({ path }) => path),
  ).toEqual(["model"]);
});

test("a setting tells its range, and the default that its object has when nothing is said", () => {
  const counts = z.strictObject({ real: z.int().min(0), drawn: z.int().positive() });
  const schema = z.strictObject({
    train: counts.prefault({ real: 5, drawn: 7 }),
    test: counts,
    share: z.number().min(0).max(1),
    seed: z.int(),
  });
  expect(
    settingsOf(schema).map(({ path, range, required, default: fallback }) => [
      path,
      range,
      required,
      fallback,
    ]),
  ).toEqual([
    ["train.real", "≥ 0", false, 5],
    ["train.drawn", "> 0", false, 7],
    ["test.real", "≥ 0", true, undefined],
    ["test.drawn", "> 0", true, undefined],
    ["share", "0 to 1", true, undefined],
    ["seed", undefined, true, undefined],
  ]);
});

test("edit distance counts letters and is symmetric", () => {
  expect(editDistance("treshold", "threshold")).toBe(1);
  expect(editDistance("lr", "rl")).toBe(1);
  fc.assert(
    fc.property(
      fc.string({ maxLength: 8 }),
      fc.string({ maxLength: 8 }),
      (a, b) => editDistance(a, b) === editDistance(b, a),
    ),
  );
  fc.assert(
    fc.property(
      fc.string({ maxLength: 8 }),
      (a) => editDistance(a, a) === 0 && editDistance(a, "") === a.length,
    ),
  );
  expect(nearest("xyz", ["optimizer"])).toBeUndefined();
});
