// @ts-check
// Writes docs/images/base-and-spo.png, the README's first picture: base and SPO below each other, with their names and prompts, from the
// images in the committed page of the comparison. The first image of every held-out prompt, none left out.
//
//   node scripts/readme-picture.mjs
import { readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { root } from "./setup/root.mjs";

const TILE = 112;
const GAP = 6;
const COLUMNS = 8;
const NAMES = 54;
const PROMPT = 26;

const page = readFileSync(join(root, "examples/emoji/results/comparison.html"), "utf8");
/** @type {Map<string, Partial<Record<"base" | "SPO", Buffer>>>} */
const prompts = new Map();
for (const [, png, name, prompt] of page.matchAll(
  /<img src="data:image\/png;base64,([^"]+)" alt="(base|SPO): ([^"]*), seed \d+">/g,
)) {
  const sides = prompts.get(/** @type {string} */ (prompt)) ?? {};
  sides[/** @type {"base" | "SPO"} */ (name)] ??= Buffer.from(/** @type {string} */ (png), "base64");
  prompts.set(/** @type {string} */ (prompt), sides);
}

const blocks = Math.ceil(prompts.size / COLUMNS);
const height = 2 * (TILE + GAP) + PROMPT + 10;
/** @type {import("sharp").OverlayOptions[]} */
const tiles = [];
/** @type {string[]} */
const texts = [];
for (const [i, [prompt, sides]] of [...prompts].entries()) {
  const left = NAMES + (i % COLUMNS) * (TILE + GAP);
  const top = Math.floor(i / COLUMNS) * height;
  for (const [row, name] of /** @type {const} */ (["base", "SPO"]).entries()) {
    const input = await sharp(sides[name]).resize(TILE, TILE, { kernel: "cubic" }).toBuffer();
    tiles.push({ input, left, top: top + row * (TILE + GAP) });
    const middle = top + row * (TILE + GAP) + TILE / 2 + 6;
    if (i % COLUMNS === 0)
      texts.push(
        `<text x="${NAMES - 10}" y="${middle}" text-anchor="end" font-weight="bold" fill="${name === "SPO" ? "#0b7a75" : "#5f5c54"}">${name}</text>`,
      );
  }
  texts.push(
    `<text x="${left + TILE / 2}" y="${top + 2 * (TILE + GAP) + 13}" text-anchor="middle" fill="#1c1b18">${prompt}</text>`,
  );
}
const size = { width: NAMES + COLUMNS * (TILE + GAP), height: blocks * height - 4 };
const labels = `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}" font-family="Liberation Sans, DejaVu Sans, sans-serif" font-size="15">${texts.join("")}</svg>`;
await sharp({ create: { ...size, channels: 3, background: "#ffffff" } })
  .composite([...tiles, { input: Buffer.from(labels), left: 0, top: 0 }])
  .png({ palette: true, quality: 95, effort: 10 })
  .toFile(join(root, "docs/images/base-and-spo.png"));
