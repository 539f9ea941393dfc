import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import { UserError } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeTinyWorld, type TinyWorld } from "../recipes/tiny-world.fixture.js";
import { tinyLrm } from "../tiny-lrm.fixture.js";
import { latentSpaceOf, publishedLatentSpace, requireSameSpace } from "./latent-space.js";
import { saveLrm } from "./lrm-files.js";
import { openPreferenceModel } from "./open-preference-model.js";

let folder: string;
let world: TinyWorld;
let pipe: TextToImage;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-latent-space-"));
  world = await makeTinyWorld(join(folder, "world"));
  pipe = loadTextToImage(world.model);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a model that predicts v, or steps otherwise, has the same latents", () => {
  const other = pipe.withScheduler({ prediction_type: "v_prediction", steps_offset: 0, clip_sample: true });
  expect(() => requireSameSpace(latentSpaceOf(pipe), latentSpaceOf(other), "judge")).not.toThrow();
});

test("every difference is told: scaling, shift, betas, timesteps", () => {
  const other = latentSpaceOf(pipe.withScheduler({ beta_schedule: "linear" }));
  const refusal = (): void =>
    requireSameSpace(publishedLatentSpace("sdxl"), { ...other, channels: 16, shift_factor: 0.1 }, "my/judge");
  expect(refusal).toThrow(UserError);
  expect(refusal).toThrow(
    /^my\/judge judges.*\n {2}channels: 4 of the judge, 16 .*\n {2}scaling_factor: 0\.13025 of the judge, 0\.18215 .*\n {2}shift_factor: null of the judge, 0\.1 .*\n {2}share of signal: up to 0\.\d+ apart/,
  );
  const longer = latentSpaceOf(pipe.withScheduler({ num_train_timesteps: 500 }));
  expect(() => requireSameSpace(longer, latentSpaceOf(pipe), "judge")).toThrow(
    /timesteps: 500 of the judge, 1000 of the model/,
  );
});

test("a folder states its space; one as published has that of its family's published model", () => {
  const own = join(folder, "own");
  const lrm = tinyLrm("sd15", { vocab_size: pipe.tokenizer?.vocabSize });
  saveLrm(own, lrm, { space: { ...latentSpaceOf(pipe), scaling_factor: 0.5 } });
  expect(() => openPreferenceModel(own, pipe)).toThrow(
    /scaling_factor: 0\.5 of the judge, 0\.18215 of the model/,
  );
  const xl = join(folder, "xl");
  saveLrm(xl, tinyLrm("sdxl"));
  expect(() => openPreferenceModel(xl, pipe)).toThrow(/scaling_factor: 0\.13025 of the judge/);
  saveLrm(xl, tinyLrm("sdxl"), { space: latentSpaceOf(pipe) });
  expect(() => openPreferenceModel(xl, pipe)).toThrow(/reads the tokens of 2 tokenizers of CLIP; .* has 1/);
});

test("a judge of fewer words than the model's tokenizer fills up with is refused", () => {
  const few = join(folder, "few");
  saveLrm(few, tinyLrm("sd15"));
  expect(() => openPreferenceModel(few, pipe)).toThrow(/tokenizer, for .*few, does not fit its text encoder/);
});
