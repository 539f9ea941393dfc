import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  loadTokenizer,
  StableDiffusion,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { Generator, initialize, noGrad, randint, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { TINY } from "../../tiny-models.fixture.js";
import { WorkMeter } from "../../work.js";
import { PairNoiser } from "./seen-pairs.js";

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
const noiser = new PairNoiser(new StableDiffusion({ tokenizer, ...models }), {
  side: SIDE,
  guidanceScale: 3,
});

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
      const draws = noiser.draw(4, [700, 300, 500, 100], generator);
      const meter = new WorkMeter();
      const all = noiser.see(batch, draws, meter);
      expect(meter.take().passes).toMatchObject({ vaeEncode: 8, unetReference: 16, vaeDecode: 8 });
      const mixed = noiser.see(batch, { ...draws, timesteps: [700, 0, 500, 0] }, meter);
      expect(meter.take().passes).toMatchObject({ vaeEncode: 4, unetReference: 8, vaeDecode: 4 });
      const rowsOf = (bytes: Tensor): number[][] =>
        bytes
          .unbind()
          .map((image) => image.permute([1, 2, 0]).reshape([-1]).to({ dtype: "float32" }).toNumbers());
      for (const side of ["image0", "image1"] as const) {
        const [seen, noised] = [rowsOf(mixed[side]), rowsOf(all[side])];
        const given = Array.from({ length: 4 }, (_, i) => [
          ...batch[side].slice(i * SIDE * SIDE * 3, (i + 1) * SIDE * SIDE * 3),
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
