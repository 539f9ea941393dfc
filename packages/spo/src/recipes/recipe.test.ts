import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { openContext, ownDevice } from "./recipe.js";

const folder = mkdtempSync(join(tmpdir(), "spo-context-"));
afterAll(() => rmSync(folder, { recursive: true }));
const second: World = { ...WORLD_OF_ONE, rank: 1, size: 2 };

test("a recipe of one process refuses several before a folder is made", () => {
  const output = join(folder, "spo");
  expect(() =>
    openContext({ kind: "pretrain judge", schema: z.object({}) }, { output }, { world: second }),
  ).toThrow(
    expect.objectContaining({
      code: "CONFIG",
      message: "pretrain judge runs in one process, and here are 2.",
    }),
  );
  expect(existsSync(output)).toBe(false);
});

test("a rank that is not the first writes nothing, and its run tells what it would have written", () => {
  const output = join(folder, "dpo");
  {
    using context = openContext({ kind: "train dpo", schema: z.object({}) }, { output }, { world: second });
    const [step] = context.run.step(1, 2, { loss: 3 });
    expect(step).toMatchObject({ type: "step", step: 1, metrics: { loss: 3 } });
    expect(context.run.events()).toEqual([step]);
    expect(context.run.save(1, () => expect.unreachable())).toEqual([]);
    expect(context.run.writes).toBe(false);
  }
  expect(existsSync(output)).toBe(false);
});

test.each([
  ["cuda", 2, 1, undefined, "cuda:1"],
  ["cuda", 2, 1, "4,6", "cuda:1"],
  ["cuda", 2, 1, "6", "cuda:0"],
  ["cuda", 1, 0, undefined, "cuda"],
  ["cuda:3", 2, 1, undefined, "cuda:3"],
  ["cpu", 2, 1, undefined, "cpu"],
])(
  "as %s, of %i processes number %i of its machine that sees the GPUs %s takes %s",
  (name, size, localRank, visible, own) => {
    expect(ownDevice(name, { size, localRank }, { CUDA_VISIBLE_DEVICES: visible })).toBe(own);
  },
);
