import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  loadTokenizer,
  StableDiffusion,
  UNet2DConditionModel,
  VpSchedule,
} from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { clipProcessor } from "@spo/scorers";
import { Generator, initialize, noGrad, randint, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { TINY } from "../../tiny-models.fixture.js";
import { drawTimesteps, PixelPairNoiser } from "./pixel-pair-noiser.js";

const SIDE = 16;
const tokenizer = loadTokenizer(
  fileURLToPath(new URL("../../../../../examples/emoji/tokenizer", import.meta.url)),
);
const vocab_size = Object.keys(tokenizer.options.vocabulary).length;
const generator = new Generator(3);
const models = {
  textEncoder: new CLIPTextModel({ ...TINY.sd15.text_encoder, vocab_size }),
  unet: new UNet2DConditionModel(TINY.sd15.unet),
  vae: new AutoencoderKL(TINY.sd15.vae),
};
for (const module of Object.values(models)) initialize(module, generator);
const noiser = new PixelPairNoiser(
  new StableDiffusion({ tokenizer, ...models }),
  { processor: clipProcessor(SIDE), device: "cpu" },
  {
    ...{ side: SIDE, guidanceScale: 3, maxTimestep: 999, cleanShare: 0, seed: 0, pixelNoise: 0 },
    augmentation: null,
  },
);

test("a pair at timestep 0 is seen as it is and costs nothing, and the others are seen as they would be without it", () =>
  noGrad(() =>
    scope(() => {
      const prompts = ["red apple", "bear", "carrot", "rocket"];
      const image = (): Uint8Array =>
        Uint8Array.from(randint(0, 256, [4 * SIDE * SIDE * 3], { generator }).toNumbers());
      const batch = {
        ...{ image0: image(), image1: image(), side: SIDE, prompts, where: prompts },
        ...{ label0: [1, 0, 1, 0], label1: [0, 1, 0, 1], examples: [1, 1, 1, 1] },
      };
      const draws = noiser.draw(4, generator, [700, 300, 500, 100]);
      const meter = new WorkMeter();
      const all = noiser.noise(batch, draws, meter);
      expect(meter.take().passes).toMatchObject({ vaeEncode: 8, unetReference: 16, vaeDecode: 8 });
      const mixed = noiser.noise(batch, { ...draws, timesteps: [700, 0, 500, 0] }, meter);
      expect(meter.take().passes).toMatchObject({ vaeEncode: 4, unetReference: 8, vaeDecode: 4 });
      const rowsOf = (bytes: Tensor): number[][] =>
        bytes
          .unbind()
          .map((image) => image.permute([1, 2, 0]).reshape([-1]).to({ dtype: "float32" }).toNumbers());
      for (const side of [0, 1] as const) {
        const [seen, noised] = [rowsOf(mixed[`side${side}`]), rowsOf(all[`side${side}`])];
        const given = Array.from({ length: 4 }, (_, i) => [
          ...batch[`image${side}`].slice(i * SIDE * SIDE * 3, (i + 1) * SIDE * SIDE * 3),
        ]);
        for (const row of [1, 3]) expect(seen[row]).toEqual(given[row]);
        for (const row of [0, 2]) {
          // A prediction's last bit depends on how many are computed together.
          const apart = (seen[row] as number[]).map((byte, i) =>
            Math.abs(byte - (noised[row]?.[i] as number)),
          );
          expect(Math.max(...apart)).toBeLessThanOrEqual(1);
          expect(seen[row]).not.toEqual(given[row]);
        }
      }
    }),
  ));

test("timesteps are drawn evenly from 0 to the largest, and a share of them is 0", () => {
  const draw = (settings: { maxTimestep: number; cleanShare: number }): number[] =>
    drawTimesteps(4000, { process: new VpSchedule(), ...settings }, new Generator(8));
  const times = draw({ maxTimestep: 9, cleanShare: 0 });
  const counts = Array.from({ length: 10 }, (_, t) => times.filter((found) => found === t).length);
  // Each is binomial with p = 1/10: five standard deviations.
  for (const count of counts) expect(Math.abs(count - 400)).toBeLessThan(5 * Math.sqrt(4000 * 0.1 * 0.9));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(4000);
  const clean = draw({ maxTimestep: 999, cleanShare: 0.3 }).filter((t) => t === 0).length;
  expect(Math.abs(clean / 4000 - 0.3)).toBeLessThan(5 * Math.sqrt((0.3 * 0.7) / 4000) + 1 / 1000);
  expect(draw({ maxTimestep: 999, cleanShare: 1 }).every((t) => t === 0)).toBe(true);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  "a prediction that %s has spoilt is refused by its pair, and a clean image needs none",
  (value) =>
    noGrad(() =>
      scope(() => {
        const image = new Uint8Array(2 * SIDE * SIDE * 3).fill(120);
        const batch = {
          ...{
            image0: image,
            image1: image,
            side: SIDE,
            prompts: ["bear", "boat"],
            where: ["row 3", "row 4"],
          },
          ...{ label0: [1, 0], label1: [0, 1], examples: [1, 1] },
        };
        const bias = models.vae.decoder.conv_out.bias as Tensor;
        const before = bias.clone();
        bias.fill_(value);
        const see = (timesteps: number[]): object =>
          noiser.noise(batch, noiser.draw(2, generator, timesteps));
        expect(() => see([0, 700])).toThrow(
          expect.objectContaining({
            code: "NUMERIC",
            message: expect.stringMatching(/pair row 4.*timestep 700/),
          }),
        );
        expect(() => see([0, 0])).not.toThrow();
        bias.copy_(before);
      }),
    ),
);
