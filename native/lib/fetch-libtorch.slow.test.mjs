// @ts-check
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeTools, fakeWheels } from "./fake-tools.mjs";

/** @type {FakeTools} */
let tools;
beforeEach(() => {
  tools = new FakeTools();
});
afterEach(() => tools[Symbol.dispose]());

const module = JSON.stringify(new URL("./fetch-libtorch.js", import.meta.url).href);

/** Fetches libtorch in a process of its own. @param {Parameters<FakeTools["node"]>[1] & { wheels?: typeof fakeWheels }} [options] */
const fetch = ({ wheels = fakeWheels, ...options } = {}) =>
  tools.node(
    [
      "--input-type=module",
      "-e",
      `const { fetchLibtorch } = await import(${module});
       try { console.log((await fetchLibtorch(${JSON.stringify(wheels)})).root); }
       catch (error) { console.error(error.name + ": " + error.message); process.exit(7); }`,
    ],
    options,
  );

const inCache = () =>
  existsSync(join(tools.cache, "spo")) ? readdirSync(join(tools.cache, "spo")).sort() : [];
const target = `libtorch-2.15.0-${process.arch}-cpu`;
const whole = () => existsSync(join(tools.cache, "spo", target));
const downloaded = ["pip download torch", "pip download nvidia-cuda-runtime"];
const unpacked = fakeWheels.map(({ name, version }) => `unpack ${name}-${version}-${process.arch}.whl`);

test("wheels are downloaded, checked, unpacked and thrown away, once", async () => {
  const first = await fetch();
  expect(first).toMatchObject({ code: 0, stdout: `${join(tools.cache, "spo", target, "torch")}\n` });
  expect(tools.calls()).toEqual([...downloaded, ...unpacked]);
  expect(readdirSync(join(tools.cache, "spo", "downloads"))).toEqual([]);
  expect(await fetch()).toMatchObject({ code: 0, stdout: first.stdout });
  expect(tools.calls()).toHaveLength(4);
});

describe("interrupted", () => {
  test("by a kill while unpacking, it leaves nothing that is taken for whole, and goes on without a second download", async () => {
    tools.tell("unpack", "stall");
    const half = () =>
      tools.calls().some((call) => call.startsWith("unpack")) &&
      inCache().some(
        (name) =>
          name.startsWith(".half-") &&
          existsSync(join(tools.cache, "spo", name, "torch/include/ATen/ATen.h")),
      );
    expect(await fetch({ until: half })).toMatchObject({ signal: "SIGKILL" });
    expect(whole()).toBe(false);
    expect(inCache().some((name) => name.startsWith(".half-"))).toBe(true);

    tools.tell("unpack", "");
    expect(await fetch()).toMatchObject({ code: 0 });
    expect(tools.calls().filter((call) => call.startsWith("pip"))).toEqual(downloaded);
    expect(inCache()).toEqual(["downloads", target]);
  });

  test("by a kill while downloading, it takes up no half wheel", async () => {
    tools.tell("pip", "stall");
    expect(await fetch({ until: () => tools.calls().includes(downloaded[0] ?? "") })).toMatchObject({
      signal: "SIGKILL",
    });
    expect(whole()).toBe(false);

    tools.tell("pip", "");
    expect(await fetch()).toMatchObject({ code: 0 });
    expect(tools.calls().filter((call) => call === downloaded[0])).toHaveLength(2);
    expect(inCache()).toEqual(["downloads", target]);
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ])("by %s, it clears up after itself, also behind a tool that goes on writing", async (signal, code) => {
    tools.tell("unpack", "endless");
    const half = () =>
      inCache().some(
        (name) => name.startsWith(".half-") && existsSync(join(tools.cache, "spo", name, "torch/include/99")),
      );
    const ended = await fetch({ until: half, signal: /** @type {NodeJS.Signals} */ (signal) });
    expect(ended).toMatchObject({ code, signal: null });
    expect(inCache()).toEqual(["downloads"]);
  });
});

test("two at once do the work once, and the second says that it waits", async () => {
  tools.tell("pip", "wait");
  const onWords = (/** @type {string} */ words) => {
    if (words.includes("waiting for that one")) tools.tell("pip", "");
  };
  const both = await Promise.all([fetch({ onWords }), fetch({ onWords })]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(tools.calls()).toEqual([...downloaded, ...unpacked]);
  expect(both.filter(({ stderr }) => stderr.includes("another set-up is fetching it; waiting"))).toHaveLength(
    1,
  );
});

describe("one clear message, and nothing left, when", () => {
  test("a wheel is not the one that was pinned", async () => {
    const other = fakeWheels.map((wheel) => ({
      ...wheel,
      sha256: { x64: "0".repeat(64), arm64: "0".repeat(64) },
    }));
    const { code, stderr } = await fetch({ wheels: other });
    expect(code).toBe(7);
    expect(stderr).toMatch(
      /SetupError: torch-.*\.whl is not the file that was pinned; it was thrown away\.\n\s*sha256 [0-9a-f]{64}\n\s*expected 0{64}/,
    );
    expect(stderr).toContain("Run npx spo setup again");
    expect(readdirSync(join(tools.cache, "spo", "downloads"))).toEqual([]);
    expect(whole()).toBe(false);
  });

  test("the network is down, without an address in it", async () => {
    tools.tell("pip", "fail:ERROR: Could not reach https://user:secret@index.example/simple/torch");
    const { code, stderr } = await fetch();
    expect(code).toBe(7);
    expect(stderr).toContain("SetupError: pip could not download torch 2.15.0.");
    expect(stderr).toContain("Check the network and pip's index settings");
    expect(stderr).not.toContain("secret");
    expect(inCache()).toEqual(["downloads"]);
  });

  test.each([
    ["pip", "fail:OSError: [Errno 28] No space left on device", /Free some disk, or set XDG_CACHE_HOME/],
    [
      "unpack",
      "fail:OSError: [Errno 28] No space left on device",
      /The disk of .* is full\.\n\s*Free some, or set XDG_CACHE_HOME/,
    ],
    ["unpack", "fail:OSError: [Errno 122] Disk quota exceeded", /The disk of .* is full/],
  ])("the disk is full for %s: %s", async (tool, what, words) => {
    tools.tell(tool, what);
    const { code, stderr } = await fetch();
    expect(code).toBe(7);
    expect(stderr).toMatch(words);
    expect(inCache()).toEqual(["downloads"]);
  });

  test("Python has no pip", async () => {
    tools.tell("pip", "none");
    const { code, stderr } = await fetch();
    expect(code).toBe(7);
    expect(stderr).toMatch(
      /^SetupError: .*python3 has no pip, which is needed to download libtorch\.\n\s*sudo .*install/m,
    );
    expect(tools.calls()).toEqual([]);
  });
});

test("without a Python the message says so, and how to get one", async () => {
  tools[Symbol.dispose]();
  tools = new FakeTools(["g++"]);
  const { code, stderr } = await fetch();
  expect(code).toBe(7);
  expect(stderr).toMatch(
    /^SetupError: Python 3 was not found; pip is needed to download libtorch\.\n\s*sudo /m,
  );
});
