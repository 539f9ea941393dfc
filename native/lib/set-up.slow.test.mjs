// @ts-check
// The set-up of an installed package, with stand-ins for Python and the compiler, and a package of this platform beside it.
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readAddonRecord } from "./addon-record.js";
import { sourceHash } from "./compile.js";
import { FakeTools } from "./fake-tools.mjs";
import { isAtLeast } from "./glibc.js";
import { libtorchMisfit, misfit, prebuiltName } from "./prebuilt.js";

const own = /** @type {import("./libtorch.js").AddonRecord} */ (readAddonRecord());
const name = prebuiltName(`${process.platform}-${process.arch}`);
/** @type {import("./prebuilt.js").PrebuiltFacts} */
const facts = {
  libtorch: "2.15.0",
  cxx11Abi: true,
  glibc: "2.17",
  napi: 8,
  sources: sourceHash(),
  compiler: "g++ 14",
};

/** @type {FakeTools} */
let tools;
/** @type {string} */
let modules;

/** @param {ConstructorParameters<typeof FakeTools>[0]} names */
function prepare(names) {
  tools?.[Symbol.dispose]();
  tools = new FakeTools(names);
  modules = join(tools.folder, "app/node_modules");
  for (const part of ["bin", "lib", "nccl", "src", "package.json"])
    cpSync(fileURLToPath(new URL(`../${part}`, import.meta.url)), join(modules, "@spo/native", part), {
      recursive: true,
    });
  mkdirSync(join(modules, "node-api-headers"));
  writeFileSync(join(modules, "node-api-headers/package.json"), "{}");
  tools.tell("torch", loadable("2.15.0"));
  tools.tell("addon", own.addon);
}
beforeEach(() => prepare(["python3"]));
afterEach(() => tools[Symbol.dispose]());

/**
 * A folder that passes for a libtorch of that version, with the libraries of this checkout's.
 *
 * @param {string} version
 * @param {string} [folder]
 */
function loadable(version, folder) {
  const torch = tools.libtorch(version, folder);
  rmSync(join(torch, "lib"), { recursive: true });
  symlinkSync(join(own.libtorch.root, "lib"), join(torch, "lib"));
  return torch;
}

/** Installs a package of this platform, with this checkout's addon. @param {Partial<typeof facts>} [other] */
function installPrebuilt(other = {}) {
  const folder = join(modules, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version: "0.1.0" }));
  writeFileSync(join(folder, "addon.json"), JSON.stringify({ ...facts, ...other }));
  cpSync(own.addon, join(folder, "spo.node"));
  return folder;
}

/** @param {Record<string, string>} [env] */
async function setUp(env = {}) {
  const { code, stdout, stderr } = await tools.node([join(modules, "@spo/native/bin/set-up.js"), "--json"], {
    env,
  });
  return { code, words: stderr, ...JSON.parse(stdout) };
}

const compiles = () => tools.calls().filter((call) => call === "compile").length;

test("the prebuilt addon is used where it fits, without a compiler, and the program then loads it", async () => {
  installPrebuilt();
  const { code, words, done, origin, whyCompiled, addon } = await setUp();
  expect({ code, done, origin, whyCompiled }).toEqual({
    code: 0,
    done: ["addon"],
    origin: "prebuilt",
    whyCompiled: null,
  });
  expect(words).toMatch(/^set-up: ready in .*, addon prebuilt\n$/);
  expect(dirname(dirname(addon))).toBe(join(tools.cache, "spo"));
  expect((await setUp()).done).toEqual([]);
  const load = "import('@spo/native').then(({ native }) => console.log(native.facts()[0]))";
  expect(await tools.node(["-e", load], { cwd: dirname(modules) })).toMatchObject({
    stdout: `${own.libtorch.version}\n`,
  });
});

test("without its package the addon is compiled, and the record tells why", async () => {
  prepare(["python3", "g++"]);
  const { code, origin, whyCompiled } = await setUp();
  expect({ code, origin, whyCompiled }).toEqual({
    code: 0,
    origin: "compiled",
    whyCompiled: `${name} is not installed`,
  });
});

describe("the prebuilt addon is not used, and it is said why, where", () => {
  test("libtorch has another version", async () => {
    prepare(["python3", "g++"]);
    installPrebuilt({ libtorch: "2.15.1" });
    const { code, origin, whyCompiled, words } = await setUp();
    expect({ code, origin }).toEqual({ code: 0, origin: "compiled" });
    expect(whyCompiled).toContain("the prebuilt addon is for libtorch 2.15.1");
    expect(words).toContain(`${whyCompiled}; it is compiled here`);
    expect(compiles()).toBe(1);
  });

  test("it does not load", async () => {
    prepare(["python3", "g++"]);
    writeFileSync(join(installPrebuilt(), "spo.node"), "garbage");
    expect(await setUp()).toMatchObject({
      code: 0,
      origin: "compiled",
      whyCompiled: expect.stringMatching(/^the prebuilt addon does not load here: \S/),
    });
  });
});

describe("with no compiler,", () => {
  test("a torch of Python's that the prebuilt addon does not fit is passed over for PyTorch's wheel", async () => {
    installPrebuilt();
    tools.tell("torch", loadable("2.14.0"));
    const wheel = loadable("2.15.0", `cache/spo/libtorch-2.15.0-${process.arch}-cpu`);
    const { code, origin, libtorch, words } = await setUp();
    expect({ code, origin, root: libtorch.root }).toEqual({ code: 0, origin: "prebuilt", root: wheel });
    expect(words).toMatch(
      /is 2\.14\.0, and there is no C\+\+ compiler to make one for it; PyTorch's wheel is taken/,
    );
  });

  test("a libtorch that is asked for and that it does not fit is not passed over", async () => {
    installPrebuilt();
    const { code, problem } = await setUp({ SPO_LIBTORCH: loadable("2.14.0", "asked") });
    expect(code).toBe(7);
    expect(problem).toMatch(
      /A C\+\+ compiler was not found; .*: the prebuilt addon is for libtorch 2\.15\.0; .* is 2\.14\.0\./,
    );
  });

  test("and no prebuilt addon, that is said before anything is downloaded", async () => {
    tools.tell("torch", "");
    expect(await setUp()).toMatchObject({
      code: 7,
      problem: expect.stringContaining("compiler was not found"),
    });
    expect(tools.calls()).toEqual([]);
  });
});

test("versions are compared as numbers", () => {
  expect([isAtLeast("2.36", "2.4"), isAtLeast("2.4", "2.36"), isAtLeast("2.34", "2.34")]).toEqual([
    true,
    false,
    true,
  ]);
  expect([isAtLeast("3", "2.9"), isAtLeast("2.2", "2.2.5"), isAtLeast("2.2.5", "2.2")]).toEqual([
    true,
    false,
    true,
  ]);
});

test.each([
  ["glibc is too old", { glibc: "2.16" }, "asks for glibc 2.17; here is 2.16"],
  ["there is no glibc", { glibc: null }, "asks for glibc 2.17; here is none"],
  ["Node-API is too old", { napi: 7 }, "asks for Node-API 8; this Node has 7"],
  ["its sources are others", { sources: "others" }, "is of other sources than @spo/native"],
  ["all is as it asks for", {}, null],
])("of a machine a prebuilt addon says what it lacks: %s", (_, other, lack) => {
  expect(misfit(facts, { glibc: "2.17", napi: 8, sources: facts.sources, ...other })).toBe(lack);
});

test("a prebuilt addon fits the libtorch that it is for, and none with other strings", () => {
  const libtorch = { ...own.libtorch, version: facts.libtorch };
  expect(libtorchMisfit(facts, libtorch)).toBeNull();
  expect(libtorchMisfit({ ...facts, cxx11Abi: false }, libtorch)).toContain("another layout of C++ strings");
});
