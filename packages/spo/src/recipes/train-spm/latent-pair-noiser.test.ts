import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  loadTokenizer,
  StableDiffusion,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { Generator, initialize, noGrad, randint, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { TINY } from "../../tiny-models.fixture.js";
import { LatentPairNoiser, type LatentPairSettings } from "./latent-pair-noiser.js";

const SIDE = 16;
const tokenizer = loadTokenizer(
  fileURLToPath(new URL("../../../../../examples/emoji/tokenizer", import.meta.url)),
);
const generator = new Generator(3);
const models = {
  textEncoder: new CLIPTextModel({ ...TINY.sd15.text_encoder, vocab_size: tokenizer.vocabSize }),
  unet: new UNet2DConditionModel(TINY.sd15.unet),
  vae: new AutoencoderKL(TINY.sd15.vae),
};
for (const module of Object.values(models)) initialize(module, generator);
const pipe = new StableDiffusion({ tokenizer, ...models });
const noiserOf = (settings: Partial<LatentPairSettings> = {}): LatentPairNoiser =>
  new LatentPairNoiser(
    pipe,
    { dtype: "float32", device: "cpu" },
    { side: SIDE, maxTimestep: 999, cleanShare: 0, ...settings },
  );
const prompts = ["red apple", "bear", "carrot"];
/** Both images of each pair are the same. */
const batch = () => {
  const image = Uint8Array.from(randint(0, 256, [3 * SIDE * SIDE * 3], { generator }).toNumbers());
  return {
    ...{ image0: image, image1: image, side: SIDE, prompts, where: prompts },
    ...{ label0: [1, 0, 0.5], label1: [0, 1, 0.5], examples: [1, 2, 3] },
  };
};
const gap = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();

test("both images are encoded, and each is noised with a noise of its own; nothing is predicted or decoded", () =>
  noGrad(() =>
    scope(() => {
      const noiser = noiserOf();
      const draws = noiser.draw(3, new Generator(5), [951, 501, 0]);
      const meter = new WorkMeter();
      const { side0, side1, timesteps } = noiser.noise(batch(), draws, meter);
      expect(meter.take().passes).toMatchObject({ vaeEncode: 6, vaeDecode: 0, unetReference: 0 });
      expect(timesteps.toNumbers()).toEqual([951, 501, 0]);
      // The same noises for both sides give the same latents, of the same image.
      const { posterior0, step0 } = draws.noises as Record<string, Tensor>;
      const alike = { posterior0, posterior1: posterior0, step0, step1: step0 } as Record<string, Tensor>;
      const twice = noiser.noise(batch(), { ...draws, noises: alike });
      expect(gap(twice.side0, twice.side1)).toBe(0);
      // x_t = √ᾱ·x_0 + √(1−ᾱ)·ε, apart where the noises are.
      const row = (x: Tensor, i: number): Tensor => x.narrow(0, i, 1);
      expect(gap(row(side0, 0), row(side1, 0))).toBeGreaterThan(1);
      const noisy = pipe.process.addNoise(row(twice.side0, 2), row(step0 as Tensor, 1), 501);
      expect(noisy.shape).toEqual(row(side0, 1).shape);
    }),
  ));

test("at timestep 0 latents are as the VAE encodes them", () =>
  noGrad(() =>
    scope(() => {
      const noiser = noiserOf();
      const images = batch();
      const at = (t: number): Tensor => {
        const draws = noiser.draw(3, new Generator(5), [t, t, t]);
        return noiser.noise(images, draws).side0;
      };
      const { step0 } = noiser.draw(3, new Generator(5), [0, 0, 0]).noises as { step0: Tensor };
      expect(gap(pipe.process.addNoise(at(0), step0, 501), at(501))).toBeLessThan(1e-5);
    }),
  ));

test("timesteps are those of 20 steps as published, or of another sampling, up to the largest allowed", () => {
  const drawn = (settings: Partial<LatentPairSettings>): Set<number> =>
    scope(() => new Set(noiserOf(settings).draw(400, new Generator(1)).timesteps));
  expect([...drawn({})].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => 1 + 50 * i));
  expect([...drawn({ noiseLevels: 4, maxTimestep: 600 })].sort((a, b) => a - b)).toEqual([1, 251, 501]);
  expect([...drawn({ cleanShare: 1 })]).toEqual([0]);
});
