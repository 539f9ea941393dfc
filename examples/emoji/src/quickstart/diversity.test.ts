import { expect, test } from "vitest";
import { diversities } from "./diversity.js";

const image = (prompt: string, ...rgb: number[]) => ({ prompt, rgb: Uint8Array.from(rgb) });

test("an image's diversity is its mean distance to those of its prompt, and not to others'", () => {
  // Black to white is 2; half of the values apart by 2 is √2.
  const images = [image("a", 0, 0), image("a", 255, 255), image("b", 9, 9), image("a", 0, 255)];
  const half = Math.SQRT2;
  const expected = [(2 + half) / 2, (2 + half) / 2, 0, half];
  for (const [i, value] of diversities(images).entries())
    expect(value).toBeCloseTo(expected[i] as number, 12);
});
