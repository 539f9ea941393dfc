// @ts-check
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { addonTarballs, releaseFaults } from "./release-faults.mjs";

const one = { name: "@spo/torch", version: "1.2.3" };

test("a release is made of one version, from the tag that names it", () => {
  const tag = { GITHUB_REF_TYPE: "tag", GITHUB_REF_NAME: "v1.2.3" };
  expect(releaseFaults([one, { ...one, name: "spo" }], tag)).toEqual([]);
  expect(releaseFaults([one, { name: "spo", version: "1.2.4" }], tag)).toEqual([
    "the packages have several versions: 1.2.3, 1.2.4",
  ]);
  expect(releaseFaults([one], { ...tag, GITHUB_REF_NAME: "v1.2.4" })).toEqual([
    "this is v1.2.4; version 1.2.3 is published from the tag v1.2.3",
  ]);
  expect(releaseFaults([one], { GITHUB_REF_TYPE: "branch", GITHUB_REF_NAME: "v1.2.3" })).toHaveLength(1);
  expect(releaseFaults([one], {})).toEqual([
    "this is no workflow; version 1.2.3 is published from the tag v1.2.3",
  ]);
});

test("a release has the addon of every platform", () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-release-"));
  try {
    const x64 = join(folder, "spo-native-linux-x64-1.2.3.tgz");
    writeFileSync(x64, "");
    expect(addonTarballs(folder, "1.2.3")).toEqual({
      there: [x64],
      missing: [join(folder, "spo-native-linux-arm64-1.2.3.tgz")],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
