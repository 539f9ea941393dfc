import { fileURLToPath } from "node:url";
import { StableDiffusion } from "@spo/diffusion";
import { Generator, keep, liveTensors, scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { readArtwork } from "./artwork.js";
import { redraw } from "./redraw.js";

const example = fileURLToPath(new URL("../../", import.meta.url));

test("a redrawing is nearer to its image the weaker it is, falls alike for a seed, and leaves only itself alive", async () => {
  const artwork = await readArtwork(`${example}data/artwork.parquet`, { core: true });
  const pipe = StableDiffusion.load(`${example}model`);
  const pixels = keep(scope(() => artwork.pixels.indexSelect(0, tensor([3, 77, 150], { dtype: "int64" }))));
  const captions = [3, 77, 150].map((row) => artwork.captions[row] as string);
  const drawn = (strength: number) =>
    redraw(pipe, pixels, captions, { strength, steps: 10, guidanceScale: 3 }, new Generator(5));
  const error = (strength: number): number =>
    scope(() => {
      const image = drawn(strength);
      const found = image.sub(pixels).square().mean().item();
      image.dispose();
      return found;
    });
  const [weak, strong] = [error(0.2), error(1)];
  const before = liveTensors(); // the pipeline keeps the sampler's schedule that the first drawing made
  expect(weak).toBeLessThan(strong / 2);
  expect(error(0.2)).toBe(weak);
  expect(liveTensors()).toBe(before);
});
