import { cat, Generator, initialize, noGrad, randn, scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { selectRows } from "../models/conditions.js";
import { UNETS } from "../models/tiny-models.fixture.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import { guide, guidedDenoiser, inPasses } from "./denoiser.js";

const unet = new UNet2DConditionModel(UNETS.sdxl);
const generator = new Generator(5);
initialize(unet, generator);

/** Conditions of n prompts, told another image size than any other call's. */
const conditions = (n: number, size: number) => ({
  context: randn([n, 5, 20], { generator }),
  textEmbeds: randn([n, 10], { generator }),
  timeIds: tensor(
    Array.from({ length: n }, (_, i) => [size + i, size, 0, i, size, size]),
    { dtype: "float32" },
  ),
});

test("each half of a guided SDXL batch has its own texts and sizes: [uncond…; cond…], also where they differ", () => {
  noGrad(() =>
    scope(() => {
      const [conditional, unconditional] = [conditions(3, 512), conditions(3, 64)];
      const xt = randn([4, 4, 8, 8], { generator });
      const rows = [2, 0, 1, 2];
      const guided = guidedDenoiser({ model: unet, conditional, unconditional, guidanceScale: 5 }).forRows(
        rows,
      )(xt, 301);
      // Image by image, and each side by a call of its own.
      const apart = rows.map((row, i) => {
        const sides = [unconditional, conditional].map((side) =>
          unet.forward(xt.narrow(0, i, 1), 301, selectRows(side, [row])),
        );
        return guide(cat(sides), 5);
      });
      expect(guided.sub(cat(apart)).abs().max().item()).toBeLessThan(1e-4);
    }),
  );
});

test("passes of few latents predict what one pass of all does, each latent by its own prompt and timestep", () => {
  noGrad(() =>
    scope(() => {
      const whole = guidedDenoiser({
        model: unet,
        conditional: conditions(3, 512),
        unconditional: conditions(1, 64),
        guidanceScale: 5,
      });
      const rows = [2, 0, 1, 2, 1];
      const xt = randn([5, 4, 8, 8], { generator });
      for (const t of [301, tensor([1, 201, 401, 601, 801], { dtype: "int64" })]) {
        const expected = whole.forRows(rows)(xt, t);
        const found = inPasses(whole, 2).forRows(rows)(xt, t);
        expect(found.sub(expected).abs().max().item()).toBeLessThan(1e-4);
      }
    }),
  );
});
