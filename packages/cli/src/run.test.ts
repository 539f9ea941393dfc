// What is said of wrong use: where it is, what was meant, what there is.
import { afterEach, describe, expect, test, vi } from "vitest";
import { run } from "./run.js";

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.exitCode = undefined;
});

/** What a call writes to either stream, and its exit code. */
async function called(...words: string[]) {
  const written = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    vi.spyOn(process[name], "write").mockImplementation((text) => {
      written[name] += text;
      return true;
    });
  await run(["node", "spo", ...words]);
  vi.restoreAllMocks();
  const code = process.exitCode ?? 0;
  process.exitCode = undefined;
  return { ...written, code };
}

describe("wrong use", () => {
  test.each([
    [["train", "foo"], "unknown command 'foo'", "train has spm, spo, dpo, votes"],
    [["plan", "fo"], "unknown command 'fo'", "plan has sample, spo, spm, dpo"],
    [
      ["data", "chekc"],
      "did you mean check?",
      "data has check, import, export, filter, side-by-side, unpack, pairs",
    ],
    [["trian", "spo"], "did you mean train?", "There are quickstart, train"],
    [["launch", "spo", "dist", "check", "--wait", "3"], "stands behind --", "npx spo launch --help"],
    [["sample", "x", "--model", "m", "--num-images", "2"], "did you mean --count?", "npx spo sample --help"],
    [["sample", "x", "--model", "m", "-n", "2"], "did you mean --count?", "npx spo sample --help"],
    [
      ["sample", "x", "--model", "m", "--cfg", "2"],
      "did you mean --guidance-scale?",
      "npx spo sample --help",
    ],
    [["sample", "x", "--model", "m", "--steps", "1e9"], "from 1 to 1000", "npx spo sample --help"],
    [["eval", "m", "--metrics", "a:b", "--seeds", "99999999999999999"], "whole number from 0", "eval --help"],
    [["quickstart", "--family", "flux"], "Allowed choices are sd15, sd3", "npx spo quickstart --help"],
    [["sample", "x", "--modle", "m"], "is --modle meant to be it?", "npx spo sample --help"],
    [["eval", "m", "--metric=clip:x"], "is --metric meant to be it?", "npx spo eval --help"],
    [["convert", "m", "--outptu", "x"], "is --outptu meant to be it?", "npx spo convert --help"],
    [["completion", "fsh"], "Allowed choices are bash, zsh, fish", "npx spo completion --help"],
    [["label", "p", "--by", "x", "-o", "y", "--batch", "5000"], "from 1 to 4096", "npx spo label --help"],
  ])("%j is told with what was meant and what there is", async (words, message, hint) => {
    const { code, stdout, stderr } = await called(...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
  });

  test("is JSON on stdout where that is asked for", async () => {
    const { stdout } = await called("train", "foo", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ schema: "spo.error/1", code: "USAGE" });
  });
});

test("a process without its rank is told so before the settings that are missing", async () => {
  vi.stubEnv("WORLD_SIZE", "2");
  const { code, stderr } = await called("train", "spo");
  expect({ code, stderr }).toEqual({
    code: 7,
    stderr: expect.stringContaining("WORLD_SIZE is set, but not RANK, MASTER_ADDR, MASTER_PORT"),
  });
});

test.each([
  [["help"], "Usage: npx spo [options]"],
  [["help", "train", "spo"], "Usage: npx spo train spo"],
  [["help", "sample"], "Usage: npx spo sample"],
])("%j is the help of what follows", async (words, usage) => {
  const { code, stdout } = await called(...words);
  expect(code).toBe(0);
  expect(stdout).toContain(usage);
});
