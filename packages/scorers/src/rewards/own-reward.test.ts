import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { checkedScores } from "./checked-scores.js";
import { loadReward } from "./load-reward.js";
import type { RgbImage } from "./reward.js";

const folder = mkdtempSync(join(tmpdir(), "spo-own-reward-"));
afterAll(() => rmSync(folder, { recursive: true }));

const grey: RgbImage = { data: new Uint8Array(12).fill(51), width: 2, height: 2 };
const written = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe("a reward of the user's own", () => {
  test("is an object, named as its file", async () => {
    const path = written(
      "bright.mjs",
      "export default { score: (images) => images.map(({ data }) => data[0] / 255) };",
    );
    const reward = await loadReward(path);
    expect(reward.name).toBe("bright");
    expect(await checkedScores(reward, [grey], ["x"])).toEqual([0.2]);
  });

  test("may be made by a function and answer later", async () => {
    const path = written(
      "later.mjs",
      'export default async () => ({ name: "words", score: async (_, prompts) => prompts.map((prompt) => prompt.length) });',
    );
    const reward = await loadReward(path);
    expect(reward.name).toBe("words");
    expect(await checkedScores(reward, [grey, grey], ["ab", "abc"])).toEqual([2, 3]);
  });

  test.each([
    ["none.mjs", "export default 3;", "exports no reward by default"],
    ["broken.mjs", "export default {", "does not load"],
  ])("is refused where it is none: %s", async (name, text, message) => {
    await expect(loadReward(written(name, text))).rejects.toThrow(message);
  });

  test.each([
    ["[]", "asked for 1 scores and gave 0 values"],
    ["'1'", "gave string"],
    ["[NaN]", "gave NaN"],
    ["[undefined]", "gave 1 values"],
  ])("is stopped where it gives %s", async (value, message) => {
    const reward = await loadReward(
      written(`gives-${message.length}-${value.length}.mjs`, `export default { score: () => ${value} };`),
    );
    await expect(checkedScores(reward, [grey], ["x"])).rejects.toThrow(message);
  });
});
