import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { expect, test } from "vitest";
import { run } from "../native/lib/run.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const model = join(root, "examples/emoji/model");

/** The README's first block of TypeScript, as a reader would copy it. */
function firstLines(): string {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8")) ?? [];
  if (code === undefined) throw new Error("README.md has no block of TypeScript");
  return code;
}

test.skipIf(!existsSync(model))(
  "the README's first lines of code draw a picture (examples/emoji/model)",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "spo-readme-"));
    try {
      for (const name of ["node_modules", "examples"]) symlinkSync(join(root, name), join(folder, name));
      writeFileSync(join(folder, "first.mjs"), firstLines());
      const env = { OMP_NUM_THREADS: "1" };
      const { code, stderr } = await run(process.execPath, ["first.mjs"], { cwd: folder, env });
      expect(stderr).toBe("");
      expect(code).toBe(0);
      const { width, height } = await sharp(join(folder, "tropical-fish.png")).metadata();
      const { channels } = await sharp(join(folder, "tropical-fish.png")).stats();
      expect([width, height]).toEqual([64, 64]);
      // Some drawing: neither a blank nor one that went astray.
      for (const { stdev } of channels) expect(stdev).toBeGreaterThan(10);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
