// The packages as anyone gets them: packed, installed by npm into an empty folder, imported both ways, type-checked, and the command run
// there with the prebuilt addon and no compiler. What others publish comes from npm's cache or its registry, as for any user.
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AddonRecord, builtAddon } from "@spo/native/libtorch";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packAddon } from "../scripts/pack/pack-addon.mjs";
import { packWorkspaces } from "../scripts/pack/pack-workspaces.mjs";
import { type Manifest, manifestOf, publishedWorkspaces } from "../scripts/pack/workspaces.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const names = publishedWorkspaces().map(({ manifest }) => manifest.name);
const { libtorch } = builtAddon() as AddonRecord;
const exportsOf = ({ name, exports = {} }: Manifest): string[] =>
  Object.keys(exports).map((path) => name + path.slice(1));

let folder: string;
let app: string;
const at = (...parts: string[]): string => join(folder, ...parts);
const installed = (name: string): string => join(app, "node_modules", name);

/** A command in the app's folder, of a user who has Node and a libtorch, and neither compiler nor Python. */
function inApp(command: string, args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: app,
    encoding: "utf8",
    env: {
      PATH: at("bin"),
      HOME: at("home"),
      SPO_LIBTORCH: libtorch.root,
      OMP_NUM_THREADS: "1",
      NO_COLOR: "1",
    },
  });
  return { status, stdout, stderr };
}

const spo = (...args: string[]) => inApp(join(app, "node_modules/.bin/spo"), args);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-packages-"));
  app = at("app");
  for (const each of ["app", "bin", "home"]) mkdirSync(at(each));
  symlinkSync(process.execPath, at("bin/node"));
  const tarballs = [...(await packWorkspaces(at("tarballs"))), await packAddon(process.arch, at("tarballs"))];
  writeFileSync(join(app, "package.json"), '{ "private": true }');
  const npm = spawnSync(
    "npm",
    ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", ...tarballs],
    { cwd: app, encoding: "utf8" },
  );
  expect(npm).toMatchObject({ status: 0, stderr: "" });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the tarball of", () => {
  test.each(names)("%s has its licence and page, and nothing that is only for the clone", (name) => {
    const files = readdirSync(installed(name), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(installed(name).length + 1));
    expect(files).toEqual(expect.arrayContaining(["LICENSE", "NOTICE", "README.md", "package.json"]));
    expect(
      files.filter((file) => /\.(test|fixture|bench)\.|(^|\/)golden\/|tsbuildinfo|tsconfig/.test(file)),
    ).toEqual([]);
    const {
      private: closed,
      scripts,
      exports = {},
    } = manifestOf(installed(name)) as Manifest & {
      scripts?: object;
    };
    expect({ closed, scripts }).toEqual({ closed: undefined, scripts: undefined });
    expect(Object.keys(exports).length).toBeGreaterThan(0);
    for (const map of files.filter((file) => file.endsWith(".map"))) {
      const { sources } = JSON.parse(readFileSync(join(installed(name), map), "utf8")) as {
        sources: string[];
      };
      for (const source of sources)
        expect({ map, there: existsSync(join(installed(name), dirname(map), source)) }).toEqual({
          map,
          there: true,
        });
    }
  });
});

test("the page of Studio comes with its package", () => {
  for (const file of ["studio.js", "studio.css"])
    expect(existsSync(join(installed("@spo/studio"), "page", file))).toBe(true);
});

test("every export is imported from ESM and required from CommonJS, to the same names", () => {
  const paths = JSON.stringify(names.flatMap((name) => exportsOf(manifestOf(installed(name)))));
  const code = (load: string) => `
    (async () => {
      const found = {};
      for (const path of ${paths}) found[path] = Object.keys(${load}).filter((name) => !["__esModule", "module.exports"].includes(name)).sort();
      console.log(JSON.stringify(found));
    })();`;
  writeFileSync(join(app, "all.mjs"), code("await import(path)"));
  writeFileSync(join(app, "all.cjs"), code("require(path)"));
  expect(spo("setup")).toMatchObject({ status: 0 });
  const [esm, cjs] = ["all.mjs", "all.cjs"].map((file) => {
    const { status, stdout, stderr } = inApp(at("bin/node"), ["--no-warnings", file]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return JSON.parse(stdout) as Record<string, string[]>;
  });
  expect(cjs).toEqual(esm);
  expect(esm?.["@spo/torch"]).toContain("Tensor");
  for (const [path, exported] of Object.entries(esm ?? {}))
    expect([path, exported.length]).not.toEqual([path, 0]);
});

test("the types hold under nodenext and strict, with the types of the libraries checked, in both kinds of modules", () => {
  const paths = names.flatMap((name) => exportsOf(manifestOf(installed(name))));
  const uses = (load: (path: string, name: string) => string) =>
    paths.map((path, i) => `${load(path, `m${i}`)}\nexport const n${i}: object = m${i};\n`).join("");
  writeFileSync(
    join(app, "types.mts"),
    uses((path, name) => `import * as ${name} from "${path}";`),
  );
  writeFileSync(
    join(app, "types.cts"),
    uses((path, name) => `import ${name} = require("${path}");`),
  );
  // Not just anything: a wrong type is told of.
  writeFileSync(
    join(app, "wrong.mts"),
    'import { Tensor } from "@spo/torch";\nexport const x: string = Tensor;\n',
  );
  const compilerOptions = {
    module: "nodenext",
    target: "es2022",
    strict: true,
    skipLibCheck: false,
    noEmit: true,
  };
  for (const types of ["@types/node", "undici-types"]) {
    mkdirSync(dirname(installed(types)), { recursive: true });
    symlinkSync(join(root, "node_modules", types), installed(types));
  }
  writeFileSync(
    join(app, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: { ...compilerOptions, types: ["node"] },
      files: ["types.mts", "types.cts", "wrong.mts"],
    }),
  );
  const { stdout } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", app], {
    encoding: "utf8",
  });
  expect(stdout.trim().split("\n")).toEqual([expect.stringMatching(/wrong\.mts\(2,14\): error TS2322/)]);
});

test("the command draws an image there, the engine set up by its first call from the prebuilt addon", async () => {
  rmSync(at("home"), { recursive: true });
  rmSync(join(installed("@spo/native"), "dist"), { recursive: true, force: true });
  const model = join(installed("@spo/example-emoji"), "model");
  const { status, stdout, stderr } = spo(
    ...["sample", "cherries", "--model", model, "--steps", "2", "--output", "images"],
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: "images/00000-0.png\n" });
  expect(stderr).toMatch(/^set-up: ready in .*, addon prebuilt\n/);
  expect(await sharp(join(app, "images/00000-0.png")).metadata()).toMatchObject({ width: 64, height: 64 });

  const { checks } = JSON.parse(spo("doctor", "--json").stdout) as {
    checks: { name: string; ok: boolean; found: string }[];
  };
  const found = (name: string) => checks.find((check) => check.name === name);
  expect(found("addon")).toMatchObject({ ok: true, found: expect.stringContaining("prebuilt") });
  expect(found("compiler")).toMatchObject({ ok: true, found: expect.stringContaining("none is needed") });
  expect(found("engine")).toMatchObject({ ok: true });
});

test("the example's comparison names files of the installed example", () => {
  const { status, stdout } = spo("compare", "emoji", "--dry-run");
  expect(status).toBe(0);
  const { model } = JSON.parse(stdout) as { model: string };
  expect(model).toContain(join("node_modules", "@spo/example-emoji/model"));
  expect(existsSync(model)).toBe(true);
});
