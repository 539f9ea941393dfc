import { fileURLToPath } from "node:url";
import {
  Generator,
  initialize,
  liveTensors,
  loadWeights,
  noGrad,
  openSafetensors,
  randn,
  scope,
  type Tensor,
} from "@spo/torch";
import { expect, test } from "vitest";
import { AutoencoderKL, type AutoencoderKLConfig } from "./autoencoder-kl.js";

// Made by golden/vae_tiling.py with Python's diffusers.
using golden = openSafetensors(
  fileURLToPath(new URL("../../golden/vae-tiling.safetensors", import.meta.url)),
);
const meta = JSON.parse(golden.metadata.meta as string) as {
  config: AutoencoderKLConfig;
  count: number;
  fp32_error_vs_fp64: Record<string, number>;
};
const tensors = golden.tensors();
const vae = new AutoencoderKL(meta.config);
loadWeights(
  vae,
  new Map(
    [...tensors].flatMap(([name, x]) =>
      name.startsWith("weights/") ? [[name.slice("weights/".length), x]] : [],
    ),
  ),
);
const of = (name: string): Tensor => tensors.get(name) as Tensor;
const farthest = (a: Tensor, b: Tensor): number => scope(() => a.sub(b).abs().max().item());

test.each(Array.from({ length: meta.count }, (_, i) => [of(`latents.${i}`).shape.slice(2).join("×"), i]))(
  "latents of %s are decoded by tiles, and their pixels encoded, as diffusers does",
  (_, i) => {
    noGrad(() =>
      scope(() => {
        for (const [name, ours] of [
          [`decoded.${i}`, vae.decode(of(`latents.${i}`), { tiling: true })],
          [`moments.${i}`, vae.moments(of(`pixels.${i}`), { tiling: true })],
        ] as [string, Tensor][]) {
          expect(ours.shape).toEqual(of(name).shape);
          const rounding = meta.fp32_error_vs_fp64[name] as number;
          expect(farthest(ours, of(name)), name).toBeLessThan(3 * rounding + 1e-6);
        }
      }),
    );
  },
);

test("tiles make a difference, but not where all is in one", () => {
  noGrad(() =>
    scope(() => {
      const [one, several] = [of("latents.0"), of("latents.2")];
      expect(farthest(vae.decode(one, { tiling: true }), vae.decode(one))).toBe(0);
      expect(farthest(vae.decode(several, { tiling: true }), vae.decode(several))).toBeGreaterThan(1e-3);
    }),
  );
});

test("decoding by tiles, one image at a time, leaves exactly its pixels alive", () => {
  const z = randn([3, 4, 9, 6], { generator: new Generator(1) });
  const before = liveTensors();
  const pixels = noGrad(() => vae.decodeLatents(z, { chunk: 1, tiling: true }));
  expect(pixels.shape).toEqual([3, 3, 36, 24]);
  expect(liveTensors()).toBe(before + 1);
});

test("tiles too small to overlap are refused", () => {
  const tiny = new AutoencoderKL({ ...meta.config, sample_size: 4 });
  expect(() => tiny.decode(of("latents.2"), { tiling: true })).toThrow(/cannot go by tiles/);
});

test("slicing gives the same pixels and moments; half precision gives float32 ones, as near as its digits", () => {
  const own = new AutoencoderKL(meta.config);
  initialize(own, new Generator(3));
  const generator = new Generator(2);
  const [z, x] = [randn([3, 4, 8, 8], { generator }), randn([3, 3, 32, 32], { generator })];
  noGrad(() =>
    scope(() => {
      const [pixels, moments] = [own.decodeLatents(z), own.moments(x)];
      own.slicing = true;
      expect(farthest(own.decodeLatents(z), pixels)).toBeLessThan(1e-5);
      expect(farthest(own.moments(x), moments)).toBeLessThan(1e-5);
      own.to({ dtype: "bfloat16" });
      for (const [found, exact] of [
        [own.decodeLatents(z), pixels],
        [own.moments(x), moments],
      ] as [Tensor, Tensor][]) {
        expect(found.dtype).toBe("float32");
        const apart = farthest(found, exact) / scope(() => exact.abs().max().item());
        expect(apart).toBeGreaterThan(1e-6);
        expect(apart).toBeLessThan(0.05);
      }
    }),
  );
});
