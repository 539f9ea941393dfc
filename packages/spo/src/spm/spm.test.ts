import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clipProcessor } from "@spo/scorers";
import {
  Generator,
  initialize,
  liveTensors,
  noGrad,
  randn,
  scope,
  type Tensor,
  tensor,
  UserError,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { UNEVEN_SPM } from "../tiny-models.fixture.js";
import { timestepSinusoid } from "./clip-vision.js";
import {
  fromClip,
  initializeTimeConditioning,
  isTimeConditioning,
  loadSpm,
  StepAwarePreferenceModel,
  saveSpm,
} from "./spm.js";

const folder = mkdtempSync(join(tmpdir(), "spo-spm-"));
afterAll(() => rmSync(folder, { recursive: true }));

function freshSpm(seed = 1): StepAwarePreferenceModel {
  const spm = new StepAwarePreferenceModel(UNEVEN_SPM);
  const generator = new Generator(seed);
  initialize(spm, generator);
  initializeTimeConditioning(spm, generator);
  return spm;
}
const pixels = (n: number): Tensor => randn([n, 3, 16, 16], { generator: new Generator(2) });
const ids = (): Tensor =>
  tensor(
    [
      [1, 5, 7, 49, 49, 49],
      [1, 9, 49, 0, 0, 0],
    ],
    { dtype: "int64" },
  );
const distance = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();

/** What the vision tower would give without time: the same weights, plain residuals. */
function plainFeatures(spm: StepAwarePreferenceModel, x: Tensor): Tensor {
  const tower = spm.vision_model;
  let h = tower.pre_layrnorm.forward(tower.embeddings.forward(x));
  for (const layer of tower.encoder.layers) {
    h = h.add(layer.self_attn.forward(layer.layer_norm1.forward(h)));
    h = h.add(layer.mlp.forward(layer.layer_norm2.forward(h)));
  }
  return spm.visual_projection.forward(tower.post_layernorm.forward(h.select(1, 0)));
}

test("before its training the preference model equals the plain CLIP scorer at every timestep", () => {
  const spm = freshSpm();
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999 }), (t) => {
      const gap = noGrad(() =>
        scope(() => distance(spm.imageFeatures(pixels(2), t), plainFeatures(spm, pixels(2)))),
      );
      expect(gap).toBeLessThan(1e-5);
    }),
    { numRuns: 20 },
  );
});

test("one timestep for all rows gives what the same timestep in every row gives", () => {
  const spm = freshSpm();
  noGrad(() =>
    scope(() => {
      for (const parameter of spm.parameters()) parameter.add_(0.01);
      const one = spm.imageFeatures(pixels(3), 501);
      const each = spm.imageFeatures(pixels(3), tensor([501, 501, 501], { dtype: "int64" }));
      expect(distance(one, each)).toBeLessThan(1e-5);
      expect(distance(one, spm.imageFeatures(pixels(3), 11))).toBeGreaterThan(1e-4);
    }),
  );
});

test("the text features do not depend on what follows the end token", () => {
  const spm = freshSpm();
  noGrad(() =>
    scope(() => {
      const padded = spm.textFeatures(ids());
      const other = spm.textFeatures(
        tensor(
          [
            [1, 5, 7, 49, 3, 3, 3],
            [1, 9, 49, 8, 8, 8, 8],
          ],
          { dtype: "int64" },
        ),
      );
      expect(distance(padded, other)).toBeLessThan(1e-6);
    }),
  );
});

test("the sinusoid of the integer timestep starts with cosines", () => {
  noGrad(() =>
    scope(() => {
      const s = timestepSinusoid(951).toNumbers();
      expect(s[0]).toBeCloseTo(Math.cos(951), 4);
      expect(s[128]).toBeCloseTo(Math.sin(951), 4);
    }),
  );
});

test("a score moves with the product of the cosine and exp(logit_scale)", () => {
  const spm = freshSpm();
  noGrad(() =>
    scope(() => {
      const a = tensor([[3, 0, 0]]);
      const b = tensor([[1, 1, 0]]);
      expect(spm.scores(a, b).item()).toBeCloseTo(Math.exp(2.6592) * Math.SQRT1_2, 4);
    }),
  );
});

test("forward and backward leave exactly their outputs and gradients alive", () => {
  const spm = freshSpm().requiresGrad_();
  const round = (): void =>
    scope(() => {
      const image = spm.imageFeatures(pixels(2), tensor([3, 700], { dtype: "int64" }));
      spm.scores(image, spm.textFeatures(ids())).sum().backward();
    });
  round();
  const before = liveTensors();
  round();
  expect(liveTensors()).toBe(before);
  scope(() => {
    const held = liveTensors();
    noGrad(() => spm.imageFeatures(pixels(2), 5));
    expect(liveTensors()).toBe(held + 2); // the pixels and the features
  });
});

test("saving and loading gives the same weights, config and processor", () => {
  const spm = freshSpm();
  const processor = clipProcessor(16);
  saveSpm(join(folder, "saved"), spm, processor);
  const loaded = loadSpm(join(folder, "saved"));
  expect(loaded.processor).toEqual(processor);
  expect(loaded.spm.config).toEqual(spm.config);
  noGrad(() =>
    scope(() => {
      const before = spm.namedParameters();
      for (const [name, value] of loaded.spm.namedParameters())
        expect(distance(value, before.get(name) as Tensor), name).toBe(0);
    }),
  );
});

test("a plain CLIP folder becomes a preference model that scores as the plain one", () => {
  const spm = freshSpm();
  const clip = new Map([...spm.namedParameters()].filter(([name]) => !isTimeConditioning(name)));
  writeFileAtomic(join(folder, "clip", "config.json"), JSON.stringify(UNEVEN_SPM));
  writeSafetensors(join(folder, "clip", "model.safetensors"), clip);
  const { spm: loaded } = fromClip(join(folder, "clip"), new Generator(9));
  noGrad(() =>
    scope(() =>
      expect(distance(loaded.imageFeatures(pixels(2), 77), plainFeatures(spm, pixels(2)))).toBeLessThan(1e-5),
    ),
  );
});

test("an unsupported config value is named", () => {
  const config = { ...UNEVEN_SPM, vision_config: { ...UNEVEN_SPM.vision_config, hidden_act: "relu" } };
  expect(() => new StepAwarePreferenceModel(config as never)).toThrow(UserError);
  expect(() => new StepAwarePreferenceModel(config as never)).toThrow(/vision_config\.hidden_act/);
});

test("a folder without weights is a user's error that names the file", () => {
  writeFileAtomic(join(folder, "empty", "config.json"), JSON.stringify(UNEVEN_SPM));
  expect(() => loadSpm(join(folder, "empty"))).toThrow(/model\.safetensors/);
});

test("gradients are bit-equal with and without checkpointing of the vision tower", () => {
  const spm = freshSpm().requiresGrad_();
  const gradients = (): Record<string, number[] | undefined> =>
    scope(() => {
      const t = tensor([0, 501, 999], { dtype: "int64" });
      spm.imageFeatures(pixels(3), t).square().sum().backward();
      const found = [...spm.namedParameters()].map(([name, p]) => [name, p.grad?.toNumbers()]);
      for (const parameter of spm.parameters()) parameter.grad = undefined;
      return Object.fromEntries(found);
    });
  const plain = gradients();
  const before = liveTensors();
  spm.vision_model.gradientCheckpointing = true;
  expect(gradients()).toEqual(plain);
  expect(liveTensors()).toBe(before);
  expect(plain["vision_model.encoder.layers.0.adaLN_modulation.1.bias"]).toBeDefined();
});
