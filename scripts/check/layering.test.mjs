// @ts-check
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { layeringFaults } from "./layering.mjs";

/** @type {string[]} */
const made = [];
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true });
});

/**
 * A repository of all layers without faults, with some files replaced.
 * @param {Record<string, string>} [files]
 */
function repository(files = {}) {
  const folder = mkdtempSync(join(tmpdir(), "layering-"));
  made.push(folder);
  const manifest = (
    /** @type {string} */ name,
    /** @type {string[]} */ paths,
    /** @type {string[]} */ dependencies,
  ) =>
    JSON.stringify({
      name,
      exports: Object.fromEntries(
        paths.map((path) => [path, { default: `./dist/${path === "." ? "index" : path.slice(2)}.js` }]),
      ),
      dependencies: Object.fromEntries(dependencies.map((each) => [each, "1"])),
    });
  const native = { ".": "./lib/index.js", "./libtorch": "./lib/libtorch.js", "./lock": "./lib/lock.js" };
  const all = {
    "native/package.json": JSON.stringify({ name: "@spo/native", exports: native }),
    "native/lib/index.js": "export const native = {};",
    "native/lib/libtorch.js": "export const version = 1;",
    "native/lib/lock.js": "export const lock = 1;",
    "packages/torch/package.json": manifest("@spo/torch", [".", "./files", "./seed"], ["@spo/native"]),
    "packages/torch/src/seed.ts": "export const seed = 1;",
    "packages/torch/src/index.ts": 'export * from "./tensor.js";',
    "packages/torch/src/tensor.ts": 'import { native } from "@spo/native";',
    "packages/torch/src/files.ts": 'import { open } from "node:fs";',
    "packages/hub/package.json": manifest("@spo/hub", ["."], ["@spo/torch"]),
    "packages/hub/src/index.ts": 'import { write } from "@spo/torch/files";',
    "packages/diffusion/package.json": manifest("@spo/diffusion", ["."], ["@spo/torch"]),
    "packages/diffusion/src/index.ts": 'import type { Tensor } from "@spo/torch";',
    "packages/records/package.json": manifest("@spo/records", [".", "./config", "./report"], ["@spo/torch"]),
    "packages/records/src/index.ts": 'import { write } from "@spo/torch/files";',
    "packages/records/src/config.ts": "export const config = {};",
    "packages/records/src/report.ts": 'import { read } from "./config.js";',
    "packages/data/package.json": manifest("@spo/data", ["."], ["@spo/torch"]),
    "packages/data/src/index.ts":
      'import { write } from "@spo/torch/files";\nimport type { Tensor } from "@spo/torch";',
    "packages/scorers/package.json": manifest("@spo/scorers", [".", "./reward-spec"], ["@spo/torch"]),
    "packages/scorers/src/index.ts": 'import { Tensor } from "@spo/torch";',
    "packages/scorers/src/reward-spec.ts": "export const spec = {};",
    "packages/spo/package.json": manifest(
      "spo",
      [".", "./report", "./schemas", "./presets"],
      ["@spo/torch", "@spo/diffusion", "@spo/records"],
    ),
    "packages/spo/src/index.ts": 'export { unet } from "@spo/diffusion";',
    "packages/spo/src/report.ts": 'import { read } from "@spo/records";',
    "packages/spo/src/schemas.ts": "export const schema = {};",
    "packages/spo/src/presets.ts": 'import type { schema } from "./schemas.js";',
    "examples/emoji/package.json": manifest("@spo/example-emoji", ["./schemas"], ["spo"]),
    "examples/emoji/src/schemas.ts": 'import { schema } from "spo/schemas";',
    "packages/studio/package.json": manifest("@spo/studio", ["."], ["@spo/records"]),
    "packages/studio/src/index.ts": 'import { read } from "@spo/records";',
    "packages/cli/package.json": manifest("@spo/cli", ["."], ["spo"]),
    "packages/cli/src/index.ts": 'const run = () => import("./train.js");',
    "packages/cli/src/train.ts": 'import { train } from "spo";',
    "packages/cli/bin/spo.js": 'import "../dist/index.js";',
    ...files,
  };
  const workspaces = Object.keys(all).flatMap((path) => path.match(/^(.*)\/package\.json$/)?.[1] ?? []);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ workspaces }));
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

/** @param {Record<string, string>} [files] */
const faultsOf = (files) => layeringFaults(repository(files), { upward: [] });

test("this repository has no fault", () => {
  expect(layeringFaults(root)).toEqual([]);
});

test("downward imports by name have no fault", () => {
  expect(faultsOf()).toEqual([]);
});

describe("a fault is", () => {
  test.each([
    [
      "an upward import",
      "packages/torch/src/tensor.ts",
      'import { unet } from "@spo/diffusion";',
      /points upwards/,
    ],
    [
      "an upward import of a type",
      "packages/torch/src/files.ts",
      'import type { Run } from "@spo/records";',
      /points upwards/,
    ],
    [
      "an upward import that is made late",
      "packages/diffusion/src/index.ts",
      'const spo = await import("spo");',
      /points upwards/,
    ],
    [
      "a path inside another package",
      "packages/spo/src/index.ts",
      'import { x } from "@spo/torch/dist/scope.js";',
      /exports no such path/,
    ],
    [
      "a relative path out of the package",
      "packages/spo/src/index.ts",
      'export { x } from "../../torch/src/scope.js";',
      /leaves the package/,
    ],
    [
      "the package's own name",
      "packages/spo/src/index.ts",
      'import { x } from "spo/schemas";',
      /by their paths/,
    ],
    [
      "a package that is not declared",
      "packages/diffusion/src/index.ts",
      'import { z } from "zod";',
      /dependencies/,
    ],
    [
      "a layer that is not declared",
      "packages/cli/src/train.ts",
      'import { x } from "@spo/torch";',
      /dependencies/,
    ],
  ])("%s", (_, file, text, rule) => {
    const faults = faultsOf({ [file]: text });
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(rule);
    expect(faults[0]).toContain(file);
  });

  test.each([
    ["@spo/data", "packages/data/src/index.ts", 'import { Tensor } from "@spo/torch";'],
    [
      "spo/schemas",
      "packages/spo/src/schemas.ts",
      'export * from "./index.js";\nimport { type Tensor } from "@spo/torch";',
    ],
    [
      "@spo/torch/files",
      "packages/torch/src/files.ts",
      'import {\n  tensor,\n  type Tensor,\n} from "./tensor.js";',
    ],
    ["@spo/cli", "packages/cli/src/index.ts", 'import "./train.js";\nexport const x = 1;'],
  ])("tensor code behind %s", (name, file, text) => {
    const spo = 'import { tensor } from "@spo/torch";';
    const faults = faultsOf({ [file]: text, "packages/spo/src/index.ts": spo });
    expect(faults.join("\n")).toMatch(
      new RegExp(`^${name} loads tensor code: .* → native/lib/index.js$`, "m"),
    );
  });

  test("a hub that knows tensors", () => {
    const faults = faultsOf({ "packages/hub/src/index.ts": 'import type { Tensor } from "@spo/torch";' });
    expect(faults).toEqual([
      expect.stringContaining('import of "@spo/torch": @spo/hub imports only @spo/torch/files'),
    ]);
  });

  test("a studio that knows more than records", () => {
    const faults = faultsOf({ "packages/studio/src/index.ts": 'import { write } from "@spo/torch/files";' });
    expect(faults).toEqual([
      expect.stringContaining('import of "@spo/torch/files": @spo/studio imports only @spo/records'),
    ]);
  });

  test("records that know tensors", () => {
    const faults = faultsOf({ "packages/records/src/index.ts": 'import type { Tensor } from "@spo/torch";' });
    expect(faults).toEqual([
      expect.stringContaining('import of "@spo/torch": @spo/records imports only @spo/torch/files'),
    ]);
  });
});
