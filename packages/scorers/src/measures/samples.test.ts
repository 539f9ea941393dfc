import { fileURLToPath } from "node:url";
import { StableDiffusion } from "@spo/diffusion";
import { noGrad } from "@spo/torch";
import { expect, test } from "vitest";
import { sampleImages } from "./samples.js";

const model = fileURLToPath(new URL("../../../../examples/emoji/model", import.meta.url));

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  "an image that a decoder's weight of %s has spoilt is refused by its prompt and seed, before it is rounded",
  (value) => {
    const pipe = StableDiffusion.load(model);
    const settings = { seed: 6, perPrompt: 1, steps: 1, guidanceScale: 1, eta: 0 };
    const first = (): object => sampleImages(pipe, ["a red fox"], settings).next();
    expect(first).not.toThrow();
    noGrad(() => pipe.vae.decoder.conv_out.bias?.fill_(value));
    expect(first).toThrow(
      expect.objectContaining({
        code: "NUMERIC",
        message: expect.stringMatching(/"a red fox", seed 6.*decoder\.conv_out\.bias/s),
      }),
    );
  },
);

test("without a choice a model is drawn by DDIM, and a flow model by its own sampler", () => {
  const samplers: unknown[] = [];
  const pipe = (prediction: string) =>
    ({
      process: { prediction },
      denoiser: { sampleSize: [2, 2], latentShape: () => [4, 2, 2] },
      vae: { factor: 1 },
      schedule: {
        ownSampler: () => "euler",
        sampler: (name: string) => {
          samplers.push(name);
          throw new Error("chosen");
        },
      },
    }) as unknown as StableDiffusion;
  const settings = { seed: 6, perPrompt: 1, steps: 1, guidanceScale: 1, eta: 0 };
  for (const prediction of ["epsilon", "flow_prediction"])
    expect(() => sampleImages(pipe(prediction), ["a"], settings).next()).toThrow("chosen");
  expect(samplers).toEqual(["ddim", "euler"]);
});
