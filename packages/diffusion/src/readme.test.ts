import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Generator, initialize, type Tensor } from "@spo/torch";
import { afterAll, expect, test } from "vitest";
import { StableDiffusion } from "./families/stable-diffusion.js";
import { AutoencoderKL } from "./models/autoencoder-kl.js";
import { CLIPTextModel } from "./models/clip-text.js";
import { TEXTS, UNETS, VAE } from "./models/tiny-models.fixture.js";
import { UNet2DConditionModel } from "./models/unet-2d-condition.js";
import { loadTokenizer } from "./tokenizer/clip-tokenizer.js";

const scratch = mkdtempSync(join(tmpdir(), "readme-"));
const home = process.cwd();
afterAll(() => {
  process.chdir(home);
  rmSync(scratch, { recursive: true });
});

/** Saves a tiny model under the name that the example loads. */
function saveModel(): void {
  const tokenizer = loadTokenizer(
    fileURLToPath(new URL("../../../examples/emoji/tokenizer", import.meta.url)),
  );
  const unet = new UNet2DConditionModel(UNETS.sd15);
  const vae = new AutoencoderKL(VAE);
  const textEncoder = new CLIPTextModel({ ...TEXTS.sd15, vocab_size: tokenizer.vocabSize });
  for (const model of [unet, vae, textEncoder]) initialize(model, new Generator(1));
  new StableDiffusion({ tokenizer, textEncoder, unet, vae }).save(join(scratch, "stable-diffusion-v1-5"));
}

test("the README's example runs and gives the pictures that it says", async () => {
  const text = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const example = /```ts\n([\s\S]+?)```/.exec(text)?.[1] as string;
  const modules = {
    "@spo/diffusion": await import("./index.js"),
    "@spo/torch": await import("@spo/torch"),
  };
  const body = example.replace(/import (\{[^}]+\}) from ("[^"]+");/g, "const $1 = modules[$2];");
  saveModel();
  process.chdir(scratch);
  const pixels = new Function("modules", `${body}\nreturn pixels;`)(modules) as Tensor;
  expect(pixels.shape).toEqual([2, 3, 16, 16]);
  expect(pixels.isfinite().all().item()).toBe(1);
  pixels.dispose();
});
