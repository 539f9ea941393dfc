import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { cli } from "./cli.js";

const empty = mkdtempSync(join(tmpdir(), "spo-doctor-"));
afterAll(() => rmSync(empty, { recursive: true, force: true }));

test("doctor finds what runs this test, and its verdict and exit code are those of its checks", async () => {
  const ended = await cli(["doctor", "--json"]);
  const { schema, ok, checks } = JSON.parse(ended.stdout) as {
    schema: string;
    ok: boolean;
    checks: { name: string; ok: boolean }[];
  };
  expect(schema).toBe("spo.doctor/1");
  const good = checks.filter((check) => check.ok).map(({ name }) => name);
  expect(good).toEqual(expect.arrayContaining(["node", "libtorch", "addon", "engine"]));
  expect(ok).toBe(good.length === checks.length);
  expect(ended.code).toBe(ok ? 0 : 7);
});

test("doctor exits with 7 and the command that mends it when libtorch is not where it is said to be", async () => {
  const ended = await cli(["doctor"], { env: { SPO_LIBTORCH: empty } });
  expect(ended.code).toBe(7);
  expect(ended.stdout).toMatch(/FAIL {2}libtorch .*SPO_LIBTORCH/);
  expect(ended.stdout).toContain("unset it");
});

test("a command that computes exits with 7 when the engine does not load; help and version need none", async () => {
  const env = { SPO_ADDON: join(empty, "none.node") };
  const ended = await cli(["verify", empty, "--json"], { env });
  expect(ended.code).toBe(7);
  expect(JSON.parse(ended.stdout)).toMatchObject({
    code: "ENVIRONMENT",
    hint: expect.stringContaining("npx spo setup"),
  });
  for (const args of [["--version"], ["--help"], ["train", "spo", "--help"], ["sample", "--help"]])
    expect((await cli(args, { env })).code).toBe(0);
});
