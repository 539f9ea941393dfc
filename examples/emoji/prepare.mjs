// @ts-check
// Turns the emoji artwork of npm packages into data/artwork.parquet: one row a rendering, 64×64 RGB on white, PNG.
//
//   npm install --ignore-scripts --no-save --prefix SOMEWHERE emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 \
//     @lobehub/fluent-emoji-3d@1.1.0 @lobehub/fluent-emoji-flat@1.1.0 @lobehub/fluent-emoji-modern@1.0.0
//   node examples/emoji/prepare.mjs --from SOMEWHERE/node_modules
//
// concepts.json lists what is drawn: caption, code point, group, and whether the small text-to-image model learns it (`core`).
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parquetWriteBuffer } from "hyparquet-writer";
import sharp from "sharp";

const SIZE = 64;
const INNER = 60; // the artwork's longer side; the rest is margin
const here = fileURLToPath(new URL(".", import.meta.url));
const { values } = parseArgs({ options: { from: { type: "string" } } });
if (!values.from) {
  process.stderr.write("usage: node examples/emoji/prepare.mjs --from NODE_MODULES\n");
  process.exit(2);
}
const from = values.from;

/** Each artist's set: the folder of its files and their ending. @type {Record<string, { folder: string, ending: string }>} */
const SETS = {
  noto: { folder: "emoji-datasource-google/img/google/64", ending: ".png" },
  twemoji: { folder: "emoji-datasource-twitter/img/twitter/64", ending: ".png" },
  "fluent-3d": { folder: "@lobehub/fluent-emoji-3d/assets", ending: ".webp" },
  "fluent-flat": { folder: "@lobehub/fluent-emoji-flat/assets", ending: ".svg" },
  "fluent-modern": { folder: "@lobehub/fluent-emoji-modern/assets", ending: ".svg" },
};

/** Sets differ in whether a name carries the variation selector fe0f. @param {string} set @param {string} code */
function fileOf(set, code) {
  const { folder, ending } = /** @type {{ folder: string, ending: string }} */ (SETS[set]);
  const bare = code.replaceAll("-fe0f", "");
  return [code, bare, `${bare}-fe0f`]
    .map((name) => join(from, folder, name + ending))
    .find((path) => existsSync(path));
}

/** Crops to what is drawn, fits it into INNER pixels, centres it on white. @param {string} path */
async function render(path) {
  const source = path.endsWith(".svg")
    ? sharp(await sharp(path, { density: 400 }).resize(256, 256, { fit: "inside" }).png().toBuffer())
    : sharp(path);
  const { data, info } = await source.ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  let [left, top, right, bottom] = [info.width, info.height, -1, -1];
  for (let y = 0; y < info.height; y++) {
    for (let x = 0; x < info.width; x++) {
      if (/** @type {number} */ (data[(y * info.width + x) * 4 + 3]) <= 8) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  const fitted = await sharp(data, { raw: { width: info.width, height: info.height, channels: 4 } })
    .extract({ left, top, width: right - left + 1, height: bottom - top + 1 })
    .resize(INNER, INNER, { fit: "inside" })
    .png()
    .toBuffer();
  return sharp(fitted)
    .resize(SIZE, SIZE, { fit: "contain", background: { r: 255, g: 255, b: 255, alpha: 0 } })
    .flatten({ background: "white" })
    .removeAlpha()
    .png({ compressionLevel: 9, effort: 10 })
    .toBuffer();
}

/** @type {{ caption: string, code: string, group: string, core: boolean }[]} */
const concepts = JSON.parse(readFileSync(join(here, "concepts.json"), "utf8"));
const rows = [];
for (const concept of concepts) {
  for (const set of Object.keys(SETS)) {
    const path = fileOf(set, concept.code);
    if (path) rows.push({ ...concept, set, image: await render(path) });
  }
}
const buffer = parquetWriteBuffer({
  columnData: [
    { name: "image", data: rows.map((r) => new Uint8Array(r.image)), type: "BYTE_ARRAY" },
    { name: "caption", data: rows.map((r) => r.caption), type: "STRING" },
    { name: "concept", data: rows.map((r) => r.code), type: "STRING" },
    { name: "set", data: rows.map((r) => r.set), type: "STRING" },
    { name: "group", data: rows.map((r) => r.group), type: "STRING" },
    { name: "core", data: rows.map((r) => r.core), type: "BOOLEAN" },
  ],
});
writeFileSync(join(here, "data", "artwork.parquet"), new Uint8Array(buffer));
process.stderr.write(
  `${rows.length} renderings of ${concepts.length} concepts, ${(buffer.byteLength / 1e6).toFixed(1)} MB\n`,
);
