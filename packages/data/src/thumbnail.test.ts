import sharp from "sharp";
import { expect, test } from "vitest";
import { thumbnail } from "./thumbnail.js";

const picture = (width: number, height: number): Promise<Uint8Array> =>
  sharp({ create: { width, height, channels: 3, background: "red" } })
    .png()
    .toBuffer();

test.each([
  [80, 40, 16, [16, 8]],
  [40, 80, 16, [8, 16]],
  [10, 6, 16, [10, 6]],
])("a picture of %i×%i fits into a side of %i, and is not enlarged", async (width, height, side, size) => {
  const small = await sharp(await thumbnail(await picture(width, height), side)).metadata();
  expect(small).toMatchObject({ format: "webp", width: size[0], height: size[1] });
});

test("what does not decode is refused", async () => {
  await expect(thumbnail(new Uint8Array([1, 2, 3]), 16)).rejects.toThrow("no JPEG, PNG or WebP");
});
