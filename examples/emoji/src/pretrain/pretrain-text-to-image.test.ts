import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodePng } from "@spo/data/pixels";
import { loadTextToImage, loadTokenizer, loadVae, StableDiffusion3 } from "@spo/diffusion";
import { Generator, noGrad, randn, scope } from "@spo/torch";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pretrainTextToImage } from "./pretrain-text-to-image.js";
import { PretrainTextToImageConfig } from "./pretrain-text-to-image-config.js";
import { stableDiffusion3Base } from "./stable-diffusion-3-base.js";

const example = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "spo-pretrain-"));
afterAll(() => rmSync(folder, { recursive: true }));

const data = join(folder, "artwork.parquet");
const settings = {
  ...{
    family: "sd3" as const,
    data,
    vae: join(example, "model", "vae"),
    tokenizer: join(example, "tokenizer"),
  },
  ...{ width: 16, heads: 2, blocks: 2, textWidth: 16, textLayers: 1, batch: 8 },
};

/** Two plain images of 16 × 16 pixels, a red and a blue one. */
beforeAll(async () => {
  const colours = [
    [220, 40, 40],
    [40, 40, 220],
  ];
  const images = await Promise.all(
    colours.map((rgb) =>
      encodePng(
        Uint8Array.from({ length: 768 }, (_, i) => rgb[i % 3] as number),
        16,
        16,
      ),
    ),
  );
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "image", data: images, type: "BYTE_ARRAY" },
      { name: "caption", data: ["red apple", "star"], type: "STRING" },
      { name: "concept", data: ["1f34e", "2b50"], type: "STRING" },
      { name: "set", data: ["noto", "noto"], type: "STRING" },
      { name: "core", data: [true, true], type: "BOOLEAN" },
    ],
  });
  writeFileSync(data, new Uint8Array(buffer));
});

test("a small SD3 begins at a velocity of zero, and at levels of its flow", () => {
  const config = PretrainTextToImageConfig.parse({ ...settings, output: folder });
  const base = stableDiffusion3Base(config, {
    tokenizer: loadTokenizer(settings.tokenizer),
    vae: loadVae(settings.vae),
    latentSize: 4,
  });
  noGrad(() =>
    scope(() => {
      const { conditional } = base.pipe.encode(["star"], { size: [16, 16] });
      expect(conditional.context?.shape).toEqual([1, 12, 32]); // both CLIPs side by side, and nothing of T5
      const x = randn([1, 4, 4, 4], { generator: new Generator(1) });
      expect(base.pipe.denoiser.forward(x, 500, conditional).abs().max().item()).toBe(0);
    }),
  );
  const drawn = base.drawTimesteps(200, new Generator(2));
  expect(drawn.every((t) => t > 0 && t <= 1000)).toBe(true);
  const middle = drawn.filter((t) => t > 269 && t < 731).length; // |N(0, 1)| < 1
  expect(middle).toBeGreaterThan(110);
  expect(middle).toBeLessThan(160);
});

test("a small SD3 learns to denoise, and its folder draws texts as it learned them", async () => {
  const output = join(folder, "model");
  const losses: number[] = [];
  const run = pretrainTextToImage({ ...settings, output, steps: 40, warmup: 4, lr: 1e-2, ema: 0.9 });
  for await (const event of run) if (event.type === "step") losses.push(event.metrics.loss as number);
  const mean = (of: number[]): number => of.reduce((sum, loss) => sum + loss, 0) / of.length;
  expect(mean(losses.slice(-10))).toBeLessThan(0.5 * mean(losses.slice(0, 5)));
  const pipe = loadTextToImage(output);
  expect(pipe).toBeInstanceOf(StableDiffusion3);
  noGrad(() =>
    scope(() => {
      const { conditional } = pipe.encode(["star"], { size: [16, 16] });
      expect(conditional.context?.shape).toEqual([1, 12, 32]);
    }),
  );
});
