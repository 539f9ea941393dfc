// @ts-check
import { existsSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { manifestOf, publishedWorkspaces } from "./workspaces.mjs";

const all = publishedWorkspaces();
const versions = new Map(all.map(({ manifest: { name, version } }) => [name, version]));

describe.each(all.map(({ folder, manifest }) => ({ name: manifest.name, folder, manifest })))(
  "$name",
  ({ folder, manifest }) => {
    test("is published openly, with provenance, for the Node versions that the project claims", () => {
      expect(manifest.publishConfig).toEqual({ access: "public", provenance: true });
      expect(manifest.engines).toEqual(manifestOf(root).engines);
    });

    test("lists what goes into its tarball, says what it is, and has a page", () => {
      expect(manifest.files).toEqual(expect.arrayContaining([expect.stringMatching(/^\w/)]));
      expect(manifest).toMatchObject({ license: "Apache-2.0", type: "module" });
      expect(readFileSync(join(folder, "README.md"), "utf8")).toContain("# ");
    });

    test("depends on its neighbours in exactly the version that they have here", () => {
      for (const [name, wanted] of Object.entries(manifest.dependencies ?? {}))
        if (versions.has(name)) expect([name, wanted]).toEqual([name, versions.get(name)]);
    });

    test("exports files of its own, each with its types", () => {
      for (const target of Object.values(manifest.exports ?? {})) {
        const { types, default: file } = /** @type {{ types: string, default: string }} */ (target);
        expect(types).toBe(file.replace(/\.js$/, ".d.ts"));
        const source = file
          .replace("./dist/", "./src/")
          .replace(/\.js$/, file.startsWith("./dist/") ? ".ts" : ".js");
        expect({ source, there: existsSync(join(folder, source)) }).toEqual({ source, there: true });
      }
    });
  },
);

test("each comes after those that it depends on", () => {
  const order = all.map(({ manifest }) => manifest.name);
  for (const { manifest } of all)
    for (const name of Object.keys(manifest.dependencies ?? {}))
      if (versions.has(name)) expect(order.indexOf(name)).toBeLessThan(order.indexOf(manifest.name));
  expect(all.map(({ folder }) => relative(root, folder))).toContain("native");
});
