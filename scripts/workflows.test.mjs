// @ts-check
// The workflows cannot run here; what they call, and what they promise, is read.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { PREBUILT_PLATFORMS } from "../native/lib/prebuilt.js";
import { root } from "./setup/root.mjs";

/** @typedef {{ run?: string, uses?: string, if?: string, with?: Record<string, unknown> }} Step */
/** @typedef {{ node?: number[], include?: { arch: string }[] }} Matrix */
/** @typedef {{ steps: Step[], needs?: string, permissions?: object, strategy?: { matrix: Matrix } }} Job */
/** @typedef {{ permissions: object, jobs: Record<string, Job> }} Workflow */

const folder = join(root, ".github/workflows");
/** @param {string} name @returns {Workflow} */
const workflow = (name) => parse(readFileSync(join(folder, name), "utf8"));
const { engines, scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
/** @param {Workflow} workflow */
const stepsOf = ({ jobs }) => Object.values(jobs).flatMap(({ steps }) => steps);

describe.each(readdirSync(folder))("%s", (name) => {
  test("calls scripts and programs that there are", () => {
    const lines = stepsOf(workflow(name)).flatMap(({ run }) => run?.trim().split("\n") ?? []);
    for (const line of lines) {
      const script = /^npm run ([\w:]+)/.exec(line)?.[1];
      const file = /^(?:node )?(\.ci\/\S+|scripts\/\S+)/.exec(line)?.[1];
      expect({ line, there: script ? script in scripts : !file || existsSync(join(root, file)) }).toEqual({
        line,
        there: true,
      });
    }
    expect(lines.length).toBeGreaterThan(0);
  });

  test("may only read, takes actions of a stated version, and leaves no credentials in the checkout", () => {
    expect(workflow(name).permissions).toEqual({ contents: "read" });
    for (const { uses, with: given } of stepsOf(workflow(name))) {
      if (!uses) continue;
      expect(uses).toMatch(/^actions\/[\w-]+@v\d+$/);
      if (uses.startsWith("actions/checkout")) expect(given).toEqual({ "persist-credentials": false });
    }
    expect(readFileSync(join(folder, name), "utf8")).not.toMatch(/secrets\./);
  });
});

test("CI goes the new user's way on every line of Node that package.json claims", () => {
  const { test: job } = workflow("ci.yml").jobs;
  const claimed = [...engines.node.matchAll(/(\d+)(?:\.\d+)?/g)].map(([, major]) => Number(major));
  expect(job?.strategy?.matrix.node).toEqual(claimed);
  expect(job?.steps.map(({ run }) => run)).toContain(".ci/run");
});

test("a release has the addon of every platform first, then is published with provenance, and only from a tag", () => {
  const { prebuild, publish } = workflow("release.yml").jobs;
  const built = prebuild?.strategy?.matrix.include?.map(({ arch }) => `linux-${arch}`);
  expect(built).toEqual([...PREBUILT_PLATFORMS]);
  expect(publish).toMatchObject({
    needs: "prebuild",
    permissions: { contents: "read", "id-token": "write" },
  });
  const releases = publish?.steps.filter(({ run }) => run?.startsWith("npm run release"));
  expect(releases).toEqual([
    { run: "npm run release -- --dry-run" },
    { run: "npm run release", if: "github.event_name == 'push'" },
  ]);
});
