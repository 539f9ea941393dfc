import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { hubEnvironment } from "./environment.js";

test.each([
  [{}, join(homedir(), ".cache/huggingface/hub")],
  [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
  [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, "/h/hub"],
  [{ HF_HOME: "~/h" }, join(homedir(), "h/hub")],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "$DISK/new", DISK: "/d" }, "/d/new"],
])("with %o the cache is %s", (variables, cache) => expect(hubEnvironment(variables).cache).toBe(cache));

test.each([
  ["1", true],
  ["on", true],
  ["TRUE", true],
  ["0", false],
  ["", false],
  [undefined, false],
])("HF_HUB_OFFLINE=%s means %s", (value, offline) =>
  expect(hubEnvironment({ HF_HUB_OFFLINE: value }).offline).toBe(offline),
);

test("the token comes from HF_TOKEN, else from the file that a login writes, and can be left at home", () => {
  const home = mkdtempSync(join(tmpdir(), "hub-"));
  writeFileSync(join(home, "token"), "from-the-file\n");
  const common = { HF_HOME: home };
  expect(hubEnvironment(common).token).toBe("from-the-file");
  expect(hubEnvironment({ ...common, HF_TOKEN: " given " }).token).toBe("given");
  expect(hubEnvironment({ ...common, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }).token).toBeUndefined();
  expect(hubEnvironment({ HF_HOME: join(home, "none") }).token).toBeUndefined();
  rmSync(home, { recursive: true });
});
