import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { saveTinyDina, saveTinySd3 } from "../tiny-sd3.fixture.js";
import { flopsOfPasses } from "./flops.js";

const folder = mkdtempSync(join(tmpdir(), "flops-"));
const [model, judge] = ["sd3", "dina"].map((name) => join(folder, name)) as [string, string];
beforeAll(() => {
  saveTinySd3(model);
  saveTinyDina(judge);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Operations of a linear layer. */
const linear = (rows: number, from: number, to: number): number => 2 * rows * from * to;

test("passes of a DiNa-LRM cost its blocks, its adapter and its head, counted by hand", () => {
  const shape = { model, adapter: "lora", rank: 2, alpha: 2, targets: null, textEncoders: false } as const;
  const [n, m, w, q] = [16, 77 + 256, 16, 2]; // tokens of the image and of the text, width, queries
  const before =
    linear(n, 16, w) + linear(1, 256, w) + 2 * linear(1, w, w) + linear(1, 24, w) + linear(m, 28, w);
  const modulation = linear(1, w, 9 * w) + linear(1, w, 6 * w);
  const attention = 8 * linear(n, w, w) + 4 * linear(m, w, w) + 4 * w * ((n + m) ** 2 + n ** 2);
  const feedForward = 2 * linear(n, w, 4 * w) + 2 * linear(m, w, 4 * w);
  const adapter = 8 * linear(n, w, 2) + 2 * linear(m, w, 2); // to_q and to_v of both attentions, add_k_proj
  const taps =
    3 * (linear(1, w, 2 * w) + linear(1, 2 * w, 2 * w)) + // two of the image, one of the text
    (2 * linear(n, w, w / 4) + linear(n, w / 2, w)) +
    (linear(m, w, w / 4) + linear(m, w / 4, w));
  const read = (tokens: number): number => 2 * linear(tokens, w, w) + 4 * q * tokens * w;
  const gate = (tokens: number): number => linear(tokens, w, w) + linear(tokens, w, 1);
  const head = 4 * linear(q, w, w) + 2 * read(n) + read(m) + gate(n) + gate(m);
  const score = 2 * linear(q, w, 4 * w) + linear(q, w, 1);
  const flops = flopsOfPasses(shape, judge);
  expect(flops.judgeImage).toBe(
    before + modulation + attention + feedForward + adapter + taps + head + score,
  );
  expect(flops.judgeText).toBeGreaterThan(0);
  expect(flops.judgeBackward).toBe(0);
  expect(flopsOfPasses(shape, null)).toEqual({ ...flops, judgeImage: 0, judgeText: 0 });
});
