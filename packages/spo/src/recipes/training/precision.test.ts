import { fileURLToPath } from "node:url";
import { loadLora, loadUnet } from "@spo/diffusion";
import { readSafetensors, scope, type Tensor } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { Precision, type PrecisionSettings } from "./precision.js";

const golden = fileURLToPath(new URL("../../../../../tests/golden", import.meta.url));

/** Of float32, in sums of other orders. Half precision is measured by what Python itself loses with it. */
const ROUNDING = 2e-6;

/** As a part of the loss. Python's own bfloat16 is 1.6e-3 from its float32; here norms round less often than in Python. */
const LOSS_APART = { float32: 1e-6, bfloat16: 2e-4, float16: 1e-4 };

/** Distance of two lists, as a part of the second one's length. */
const apart = (found: readonly number[], wanted: readonly number[]): number =>
  Math.hypot(...found.map((x, i) => x - (wanted[i] as number))) / Math.hypot(...wanted);

for (const family of ["sd15", "sdxl"] as const) {
  describe(`a step of a LoRA on ${family} agrees with torch.autocast, diffusers and peft`, () => {
    const expected = readSafetensors(`${golden}/autocast/step-${family}.safetensors`);
    afterAll(() => {
      for (const value of expected.values()) value.dispose();
    });
    const input = (name: string): Tensor => expected.get(`input.${name}`) as Tensor;

    const step = (settings: PrecisionSettings) => {
      const { dtype } = settings;
      const unet = loadUnet(`${golden}/small/tiny-${family}/unet`, { dtype });
      const lora = loadLora(unet, `${golden}/small/lora-${family}-peft.safetensors`);
      const precision = new Precision(settings, { denoiser: unet, vae: unet });
      return scope(() => {
        const half = (name: string): Tensor => input(name).to({ dtype });
        const added =
          family === "sdxl" ? { textEmbeds: half("text_embeds"), timeIds: input("time_ids") } : undefined;
        const prediction = precision
          .around(() => unet.forward(half("sample"), 401, { context: half("context"), ...added }))
          .to({ dtype: "float32" });
        const loss = prediction.sub(input("noise")).square().mean();
        precision.scale(loss).backward();
        const norm = precision.clipGradNorm(lora.parameters(), Number.POSITIVE_INFINITY);
        const gradients = [...lora.namedParameters()].map(
          ([name, parameter]) => [`grad.unet.${name}`, (parameter.grad as Tensor).toNumbers()] as const,
        );
        return { prediction: prediction.toNumbers(), loss: loss.item(), norm, gradients };
      });
    };

    test.each(["float32", "bfloat16", "float16"] as const)(
      "in %s, with and without checkpointing",
      (dtype) => {
        const plain = step({ dtype, gradientCheckpointing: false, memoryFormat: null });
        const python = (type: string, name: string) =>
          (expected.get(`${type}.${name}`) as Tensor).toNumbers();
        const names = plain.gradients.map(([name]) => name);
        const found = { prediction: plain.prediction, gradients: plain.gradients.flatMap(([, all]) => all) };
        const pythons = (type: string) => ({
          prediction: python(type, "prediction"),
          gradients: names.flatMap((name) => python(type, name)),
        });
        const [half, whole] = [pythons(dtype), pythons("float32")];
        for (const part of ["prediction", "gradients"] as const) {
          const lost = dtype === "float32" ? ROUNDING : apart(half[part], whole[part]);
          expect(lost).toBeLessThan(0.05);
          expect(apart(found[part], half[part])).toBeLessThan(2 * lost);
          expect(apart(found[part], whole[part])).toBeLessThan(1.5 * lost);
        }
        const [loss] = python(dtype, "loss") as [number];
        expect(Math.abs(plain.loss / loss - 1)).toBeLessThan(LOSS_APART[dtype]);
        expect(plain.norm / Math.hypot(...found.gradients)).toBeCloseTo(1, 5);
        expect(step({ dtype, gradientCheckpointing: true, memoryFormat: null })).toEqual(plain);
      },
    );
  });
}
