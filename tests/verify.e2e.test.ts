import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli } from "./cli.js";

const fixtures = process.env.SPO_FIXTURES ?? fileURLToPath(new URL("../../shared/fixtures", import.meta.url));

const own = fileURLToPath(new URL("./golden/small", import.meta.url));

interface Verified {
  ok: boolean;
  summary: { checks: number; failedChecks: number; cases: number; misses: number };
  checks: {
    name: string;
    ok: boolean;
    error?: string;
    files: string[];
    cases: { case: string; ok: boolean }[];
  }[];
  unsupported: string[];
}

test("a folder that does not exist fails every check and exits with 1", async () => {
  const ended = await cli(["verify", join(tmpdir(), "no-such-fixtures"), "--json"]);
  expect(ended.code).toBe(1);
  const { ok, summary } = JSON.parse(ended.stdout) as Verified;
  expect(ok).toBe(false);
  expect(summary.failedChecks).toBe(summary.checks);
  expect(ended.stderr).toContain("there is no folder");
});

test("a folder without SDXL names every file that is missing, checks all the rest, and exits with 1", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-verify-half-"));
  try {
    cpSync(own, folder, { recursive: true, filter: (path) => !path.includes("sdxl") });
    const ended = await cli(["verify", folder, "--json"]);
    expect(ended.code).toBe(1);
    const { checks } = JSON.parse(ended.stdout) as Verified;
    const [missing, present] = [true, false].map((sdxl) =>
      checks.filter(({ files }) => files.some((file) => file.includes("sdxl")) === sdxl),
    ) as [Verified["checks"], Verified["checks"]];
    expect(missing.length).toBeGreaterThan(10);
    for (const { error, files } of missing)
      expect(error).toBe(`missing: ${files.filter((file) => file.includes("sdxl")).join(", ")}`);
    expect(present.length).toBeGreaterThan(20);
    expect(present.filter(({ ok }) => !ok)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a set of one file is checked for that alone; what it lists besides is missed or named", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-verify-set-"));
  try {
    cpSync(join(own, "losses-adamw.safetensors"), join(folder, "losses-adamw.safetensors"));
    const files = ["losses-adamw.safetensors", "later-adamw.json", "tiny-later/config.json"];
    writeFileSync(join(folder, "later-adamw.json"), "{}");
    writeFileSync(join(folder, "manifest.json"), JSON.stringify({ files }));
    const all = await cli(["verify", folder, "--json"]);
    expect(all.code).toBe(1);
    const { checks, unsupported } = JSON.parse(all.stdout) as Verified;
    expect(checks.map(({ name, ok, error }) => [name, ok, error])).toEqual([
      ["AdamW and clipping", true, undefined],
      ["files of the manifest", false, "missing: tiny-later/config.json"],
    ]);
    expect(unsupported).toEqual(["later-adamw.json", "tiny-later"]);
    const some = await cli(["verify", "--only", "ADAM", folder, "--json"]);
    expect(some.code).toBe(0);
    expect(JSON.parse(some.stdout)).toMatchObject({
      summary: { checks: 1 },
      unsupported: ["later-adamw.json"],
    });
    const none = await cli(["verify", folder, "--only", "sampler"]);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("There are: AdamW and clipping.")]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a GPU that is not there is refused before any check; meta runs the checks without numbers", async () => {
  const absent = await cli(["verify", own, "--device", "cuda:4095"]);
  expect([absent.code, absent.stdout]).toEqual([7, ""]);
  expect(absent.stderr).toMatch(/no device cuda:4095/);
  const meta = await cli(["verify", own, "--device", "meta", "--only", "SPO loss", "--json"]);
  expect([meta.code, JSON.parse(meta.stdout)]).toMatchObject([
    0,
    { device: "meta", ok: true, summary: { checks: 2, failedChecks: 0 } },
  ]);
});

describe.skipIf(!existsSync(fixtures))(
  "the golden fixtures (skipped where they are not beside the repository)",
  () => {
    let folder: string;
    let copy: string;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "spo-verify-"));
      copy = join(folder, "fixtures");
      mkdirSync(copy);
      cpSync(fixtures, copy, { recursive: true });
      spawnSync("chmod", ["-R", "u+w", copy]); // the originals may be read-only
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test("pass, every case in its tolerance", async () => {
      const ended = await cli(["verify", fixtures, "--json"]);
      const { ok, summary, checks } = JSON.parse(ended.stdout) as Verified;
      expect(checks.filter((check) => !check.ok)).toEqual([]);
      expect(ok).toBe(true);
      expect(summary.misses).toBe(0);
      expect(summary.cases).toBeGreaterThan(250);
      expect(ended.code).toBe(0);
    });

    test("with one altered value, one damaged, one missing and one foreign file exit with 1 and show each where it is", async () => {
      alterLastValue(join(copy, "losses-spm.safetensors"), "loss");
      truncateSync(join(copy, "losses-adamw.safetensors"), 1000);
      rmSync(join(copy, "resampler.json"));
      writeFileSync(join(copy, "of-another-kind.safetensors"), "");
      const ended = await cli(["verify", copy, "--json"]);
      expect(ended.code).toBe(1);
      const { checks, summary, unsupported } = JSON.parse(ended.stdout) as Verified;
      const failed = checks.filter((check) => !check.ok);
      expect(failed.map(({ name }) => name).sort()).toEqual([
        "AdamW and clipping",
        "SPM loss and gradients",
        "resampler decisions",
      ]);
      expect(
        failed.flatMap(({ cases }) => cases.filter((each) => !each.ok).map((each) => each.case)),
      ).toEqual(["loss"]);
      expect(failed.find(({ name }) => name.startsWith("AdamW"))?.error).toContain(
        "losses-adamw.safetensors",
      );
      expect(failed.find(({ name }) => name.startsWith("resampler"))?.error).toBe("missing: resampler.json");
      expect(summary).toMatchObject({ failedChecks: 3, misses: 1 });
      expect(unsupported).toContain("of-another-kind.safetensors");
    });
  },
);

/** Adds 1 to the last value of a float32 tensor in a safetensors file. */
function alterLastValue(path: string, name: string): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const place = 8 + length + (header[name]?.data_offsets[1] as number) - 4;
  bytes.writeFloatLE(bytes.readFloatLE(place) + 1, place);
  writeFileSync(path, bytes);
}
