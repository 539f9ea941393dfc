import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import { Generator, initialize, noGrad, scope, type Tensor, writeSafetensors } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeTinyWorld } from "../recipes/tiny-world.fixture.js";
import { TINY_SPM, UNEVEN_SPM } from "../tiny-models.fixture.js";
import { PUBLISHED_LRM } from "./latent-reward-model.js";
import { newLrm } from "./new-lrm.js";
import { isTimeConditioning, type SpmConfigInput, StepAwarePreferenceModel } from "./spm.js";

let folder: string;
let pipe: TextToImage;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-new-lrm-"));
  pipe = loadTextToImage((await makeTinyWorld(join(folder, "world"))).model);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A plain CLIP's folder, and its text projection. */
function clip(name: string, config: SpmConfigInput): { path: string; projection: Tensor } {
  const spm = new StepAwarePreferenceModel(config);
  initialize(spm, new Generator(4));
  const weights = [...spm.namedParameters()].filter(([key]) => !isTimeConditioning(key));
  const path = join(folder, `${name}.safetensors`);
  writeSafetensors(path, new Map(weights));
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return { path, projection: spm.text_projection.weight };
}
const options = (seed: number, path: string | null = null) => ({
  settings: PUBLISHED_LRM,
  clip: path,
  generator: new Generator(seed),
});
const same = (a: Tensor, b: Tensor): boolean => scope(() => a.ne(b).any().item() === 0);

test("a new model has the base's UNet and text encoder in memory of its own, and a scale of 1/0.07", () =>
  noGrad(() => {
    const lrm = newLrm(pipe, options(1));
    const unet = pipe.denoiser.namedParameters();
    for (const [name, value] of lrm.unet.namedParameters())
      expect(same(value, unet.get(name) as Tensor), name).toBe(true);
    const text = pipe.models.text_encoder?.namedParameters();
    for (const [name, value] of lrm.text_encoder.namedParameters())
      expect(same(value, text?.get(name) as Tensor), name).toBe(true);
    expect(Math.exp(lrm.logit_scale.item())).toBeCloseTo(1 / 0.07, 2);
    const before = pipe.denoiser.parameters()[0]?.toNumbers();
    for (const parameter of lrm.parameters()) parameter.fill_(3);
    expect(pipe.denoiser.parameters()[0]?.toNumbers()).toEqual(before);
  }));

test("its projections are drawn by the seed, or the text's is a CLIP's", () => {
  const [one, again, other] = [newLrm(pipe, options(1)), newLrm(pipe, options(1)), newLrm(pipe, options(2))];
  for (const of of ["visual_projection", "text_projection"] as const) {
    const weight = (lrm: typeof one): Tensor => lrm[of]?.weight as Tensor;
    expect(same(weight(one), weight(again))).toBe(true);
    expect(same(weight(one), weight(other))).toBe(false);
  }
  const { path, projection } = clip("fits", TINY_SPM);
  const lrm = newLrm(pipe, options(1, path));
  expect(same(lrm.text_projection?.weight as Tensor, projection)).toBe(true);
  expect(lrm.visual_projection.weight.shape[0]).toBe(projection.shape[0]);
});

test("a CLIP of another width is refused, with both", () => {
  const { path } = clip("wide", UNEVEN_SPM);
  expect(() => newLrm(pipe, options(1, path))).toThrow(
    /its text projection takes states of width 16; those of the base's text encoder have 12/,
  );
});
