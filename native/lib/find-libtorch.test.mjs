// @ts-check
import { rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { cacheFolder } from "./cache-folder.js";
import { FakeTools } from "./fake-tools.mjs";
import {
  choiceHash,
  findLibtorch,
  isSupported,
  nvidiaDriver,
  versionIn,
  wantsCuda,
  wheelFolder,
} from "./find-libtorch.js";
import { SetupError } from "./setup-error.js";

/** @type {FakeTools} */
let tools;
beforeEach(() => {
  tools = new FakeTools();
  for (const name of ["SPO_LIBTORCH", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_VERSION", "PYTHONPATH"])
    vi.stubEnv(name, undefined);
  for (const [name, value] of Object.entries(tools.environment())) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  tools[Symbol.dispose]();
});

/** @param {string} version */
function cached(version) {
  const folder = wheelFolder(false);
  tools.libtorch(version, folder.slice(tools.folder.length + 1));
  return join(folder, "torch");
}

describe("libtorch is looked for", () => {
  test("with CUDA where there is a driver or SPO_CUDA is 1, and without where it is 0", () => {
    const found = ["0", "1", undefined].map((value) => {
      vi.stubEnv("SPO_CUDA", value);
      return wantsCuda();
    });
    expect(found).toEqual([false, true, nvidiaDriver() !== null]);
  });

  test("first where SPO_LIBTORCH says, in a libtorch folder or beside a torch package", () => {
    const asked = tools.libtorch("2.14.1");
    tools.tell("torch", tools.libtorch("2.15.0"));
    for (const folder of [asked, join(asked, "..")]) {
      vi.stubEnv("SPO_LIBTORCH", folder);
      expect(findLibtorch().libtorch).toMatchObject({
        root: asked,
        version: "2.14.1",
        origin: "SPO_LIBTORCH",
        cuda: null,
      });
    }
  });

  test("then in the active Python, when its version is in the range", () => {
    const root = tools.libtorch("2.10.3");
    tools.tell("torch", root);
    cached("2.15.0");
    expect(findLibtorch()).toMatchObject({
      libtorch: { root, version: "2.10.3", origin: "python" },
      notes: [],
    });
  });

  test.each(["2.8.9", "2.16.0", "3.0.0"])(
    "and else in the cache; Python's %s is named and not taken",
    (version) => {
      tools.tell("torch", tools.libtorch(version));
      const root = cached("2.15.0");
      const { libtorch, notes } = findLibtorch();
      expect(libtorch).toMatchObject({ root, origin: "wheel" });
      expect(notes).toEqual([
        expect.stringMatching(
          `is not used: its version is ${version}; 2.9 or later and below 2.16 is supported`,
        ),
      ]);
    },
  );

  test("and is nowhere on a new machine", () => {
    expect(findLibtorch()).toEqual({ libtorch: null, notes: [] });
  });
});

describe("SPO_LIBTORCH that names no libtorch is an error that says why, and what to do:", () => {
  const folder = () => tools.libtorch("2.15.0");
  test.each([
    ["a folder that is not there", () => "/nowhere", /there is no lib\/libtorch_cpu\.so in it/],
    ["a file", () => join(folder(), "lib/libc10.so"), /there is no lib\/libtorch_cpu\.so in it/],
    [
      "one that lacks headers",
      () => without(folder(), "include/ATen/ATen.h"),
      /it lacks include\/ATen\/ATen\.h/,
    ],
    ["one that lacks a library", () => without(folder(), "lib/libc10.so"), /it lacks lib\/libc10\.so/],
    [
      "one that does not tell its version",
      () => without(folder(), "include/torch/headeronly/version.h"),
      /does not tell its version/,
    ],
    ["one that is too old", () => tools.libtorch("1.13.1"), /its version is 1\.13\.1; 2\.9 or later/],
  ])("%s", (_, place, why) => {
    vi.stubEnv("SPO_LIBTORCH", place());
    expect(findLibtorch).toThrow(SetupError);
    expect(findLibtorch).toThrow(why);
    expect(findLibtorch).toThrow(/Set it to a libtorch folder .*, or unset it\.$/);
  });

  /** @param {string} root @param {string} file */
  function without(root, file) {
    rmSync(join(root, file));
    return root;
  }
});

test("a libtorch behind a link is the folder that the link leads to", () => {
  const root = tools.libtorch("2.15.0");
  symlinkSync(root, join(tools.folder, "link"));
  vi.stubEnv("SPO_LIBTORCH", join(tools.folder, "link"));
  expect(findLibtorch().libtorch?.root).toBe(root);
});

test("its fingerprint changes with its files", () => {
  const root = tools.libtorch("2.15.0");
  vi.stubEnv("SPO_LIBTORCH", root);
  const before = findLibtorch().libtorch?.fingerprint;
  expect(findLibtorch().libtorch?.fingerprint).toBe(before);
  writeFileSync(join(root, "lib/libtorch_cpu.so"), "another library");
  expect(findLibtorch().libtorch?.fingerprint).not.toBe(before);
});

test("its fingerprint stays when its time is cut to whole seconds, as in a layer of an image", () => {
  const root = tools.libtorch("2.15.0");
  vi.stubEnv("SPO_LIBTORCH", root);
  const stamped = (/** @type {number} */ seconds) => {
    utimesSync(join(root, "lib/libtorch_cpu.so"), seconds, seconds);
    return findLibtorch().libtorch?.fingerprint;
  };
  expect(stamped(1_700_000_000)).toBe(stamped(1_700_000_000.987));
  expect(stamped(1_700_000_001)).not.toBe(stamped(1_700_000_000));
});

test("the choice is made anew when another Python or another SPO_LIBTORCH is active, without starting either", () => {
  const before = choiceHash();
  expect(choiceHash()).toBe(before);
  for (const name of ["SPO_LIBTORCH", "VIRTUAL_ENV"]) {
    vi.stubEnv(name, "/other");
    expect(choiceHash()).not.toBe(before);
    vi.stubEnv(name, undefined);
  }
  vi.stubEnv("PATH", "/nowhere");
  expect(choiceHash()).not.toBe(before);
});

test("a relative XDG_CACHE_HOME is ignored, as its rules say", () => {
  expect(cacheFolder()).toBe(join(tools.cache, "spo"));
  vi.stubEnv("XDG_CACHE_HOME", "cache");
  expect(cacheFolder()).toBe(join(tools.folder, ".cache", "spo"));
});

test("versions are compared as numbers, not as text", () => {
  expect(["2.9.0", "2.10.0", "2.15.9"].map(isSupported)).toEqual([true, true, true]);
  expect(["2.8.0", "2.16.0", "1.99.0", "20.9.0"].map(isSupported)).toEqual([false, false, false, false]);
  expect(versionIn("#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 15\n")).toBeNull();
});
