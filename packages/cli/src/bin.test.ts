// The start of the command in a clone: `npx spo` sets up what is missing, then runs.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const START = "packages/cli/bin/spo.js";

let clone: string;
beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), "spo-clone-"));
  mkdirSync(join(clone, "packages/cli/bin"), { recursive: true });
  mkdirSync(join(clone, "scripts"));
  writeFileSync(join(clone, "package.json"), '{ "type": "module" }');
  cpSync(join(root, START), join(clone, START));
  cpSync(
    join(root, "native/lib/node-version.js"),
    join(clone, "node_modules/@spo/native/lib/node-version.js"),
  );
  cpSync(join(root, "native/package.json"), join(clone, "node_modules/@spo/native/package.json"));
});
afterEach(() => rmSync(clone, { recursive: true, force: true }));

/** A set-up that builds a command which prints its words; or one that fails. */
function hasSetup(works: boolean): void {
  const main = JSON.stringify(join(clone, "packages/cli/dist/index.js"));
  writeFileSync(
    join(clone, "scripts/setup.mjs"),
    works
      ? `import { mkdirSync, writeFileSync } from "node:fs";
         console.log("setting up");
         mkdirSync(${JSON.stringify(join(clone, "packages/cli/dist"))}, { recursive: true });
         writeFileSync(${main}, 'export const run = () => console.log(process.argv.slice(2).join(" "));');`
      : 'console.error("no compiler"); process.exitCode = 7;',
  );
}

function start(words: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(clone, START), ...words], {
    encoding: "utf8",
    env: { ...process.env, npm_lifecycle_event: undefined, ...env },
  });
  return { status, stdout, stderr };
}

test("a fresh clone is set up by the first call, whose stdout is the command's alone", () => {
  hasSetup(true);
  expect(start(["plan", "--json"])).toEqual({ status: 0, stdout: "plan --json\n", stderr: "setting up\n" });
  expect(start(["plan"])).toEqual({ status: 0, stdout: "plan\n", stderr: "" });
});

test("by npx it looks each time whether the clone has changed, but for what needs no engine", () => {
  hasSetup(true);
  start([]);
  const npx = { npm_lifecycle_event: "npx" };
  expect(start(["plan"], npx).stderr).toBe("setting up\n");
  for (const word of ["completion", "doctor", "--help", "--version"])
    expect(start([word], npx).stderr).toBe("");
});

test("a set-up that fails ends the call with 7, the command that goes on with it, and JSON where that is asked for", () => {
  hasSetup(false);
  const { status, stdout, stderr } = start(["plan", "--json"]);
  expect(status).toBe(7);
  expect(stderr).toMatch(/no compiler[\s\S]*npx spo setup/);
  expect(JSON.parse(stdout)).toMatchObject({ schema: "spo.error/1", code: "ENVIRONMENT" });
});

test("where there is no set-up, it is said that the command is not built", () => {
  expect(start(["plan"])).toMatchObject({ status: 7, stderr: expect.stringContaining("not built") });
});

test("npx finds the command by the root's package.json before anything is installed, and asks no registry", () => {
  expect(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).bin).toEqual({ spo: START });
});
