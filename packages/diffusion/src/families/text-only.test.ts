import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadVae } from "../layouts/model-folder.js";
import { readModelIndex } from "../layouts/model-index.js";
import { AutoencoderKL } from "../models/autoencoder-kl.js";
import { UNETS, VAE } from "../models/tiny-models.fixture.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "../models/unet-2d-condition.js";
import { refusal } from "../refusal.fixture.js";
import { FAMILIES } from "./families.js";
import { requireTextOnly } from "./text-only.js";

const folder = mkdtempSync(join(tmpdir(), "text-only-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("a UNet that wants more than noise and a text is refused:", () => {
  const vae = new AutoencoderKL(VAE);
  const said = (config: UNet2DConditionConfig, pooled?: number): string =>
    refusal(() => requireTextOnly(new UNet2DConditionModel(config), vae, pooled));

  test.each([
    [9, "in-painting"],
    [8, "InstructPix2Pix"],
    [6, "takes 6 channels and latents have 4."],
  ])("one of %d input channels", (in_channels, why) => {
    expect(said({ ...UNETS.sd15, in_channels })).toContain(why);
  });

  test("one that gives more than the noise", () => {
    expect(said({ ...UNETS.sd15, out_channels: 8 })).toContain("gives 8 channels");
  });

  test("SDXL's refiner, by its five numbers", () => {
    const refiner = { ...UNETS.sdxl, projection_class_embeddings_input_dim: 10 + 5 * 4 };
    expect(said(refiner, 10)).toContain("aesthetic score");
  });

  test("one of another pooled text, and one of another family", () => {
    expect(said(UNETS.sdxl, 11)).toContain("is 34; the text encoder and 6 numbers make 35");
    expect(said(UNETS.sdxl)).toContain("not SDXL's");
    expect(said(UNETS.sd15, 10)).toContain("the pipeline is SDXL's");
  });

  test("and those of the families are not", () => {
    requireTextOnly(new UNet2DConditionModel(UNETS.sd15), vae);
    requireTextOnly(new UNet2DConditionModel(UNETS.sdxl), vae, 10);
  });
});

describe("a folder", () => {
  const index = (_class_name: string) => {
    writeFileSync(join(folder, "model_index.json"), JSON.stringify({ _class_name }));
    return readModelIndex(folder, FAMILIES);
  };

  test("of a latent consistency model is one of Stable Diffusion", () => {
    expect(index("LatentConsistencyModelPipeline").family.name).toBe("sd15");
  });

  test.each([
    ["StableDiffusionXLImg2ImgPipeline", "aesthetic score"],
    ["StableDiffusionInpaintPipeline", "mask"],
    ["StableDiffusionInstructPix2PixPipeline", "edits an image"],
    ["StableDiffusionUpscalePipeline", "starts from an image"],
  ])("of a %s is refused with the reason", (name, why) => {
    expect(() => index(name)).toThrow(
      expect.objectContaining({ code: "DATA", hint: expect.stringContaining(why) }),
    );
  });

  test("of another VAE is refused by its class alone", () => {
    const place = join(folder, "vae");
    mkdirSync(place);
    writeFileSync(
      join(place, "config.json"),
      JSON.stringify({ _class_name: "AutoencoderTiny", act_fn: "relu" }),
    );
    expect(refusal(() => loadVae(place))).toBe(
      `${place} holds the class AutoencoderTiny; supported here: AutoencoderKL.`,
    );
  });
});
