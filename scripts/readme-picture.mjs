// @ts-check
// Writes the README's first pictures from a quickstart's report: six prompts that show what SPO changes, chosen by eye; the six that the
// judge finds improved least; and all that the report's sheet shows. Each is the first image of its prompt, but for the six of the judge.
//
//   node scripts/readme-picture.mjs runs/quickstart
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { contactSheet } from "@spo/data";
import sharp from "sharp";
import { root } from "./setup/root.mjs";

const SHOWN = ["robot face", "safety vest", "mobile phone", "hourglass", "camera", "butter"];
/** Of the sheets that stand beside a report. */
const [TILE, GAP, COLUMNS] = [128, 8, 8];

const [folder] = process.argv.slice(2);
if (!folder) throw new Error("node scripts/readme-picture.mjs FOLDER");
const prompts = readFileSync(join(root, "examples/emoji/prompts/held-out.txt"), "utf8").trim().split("\n");

/** @param {"base" | "spo"} side @param {string} prompt */
function tile(side, prompt) {
  const place = prompts.indexOf(prompt);
  if (place === -1) throw new Error(`${prompt} is none of the held-out prompts`);
  const [column, row] = [place % COLUMNS, Math.floor(place / COLUMNS)];
  return sharp(join(/** @type {string} */ (folder), `${side}.png`))
    .extract({ left: GAP + column * (TILE + GAP), top: GAP + row * (TILE + GAP), width: TILE, height: TILE })
    .png()
    .toBuffer();
}

/** @param {string | Uint8Array} picture @param {string} name */
const write = async (picture, name) => {
  const small = sharp(picture).png({ palette: true, quality: 90, effort: 10 });
  await small.toFile(join(root, "docs/images", name));
};

const sides = /** @type {const} */ (["base", "spo"]);
const tiles = await Promise.all(sides.flatMap((side) => SHOWN.map((prompt) => tile(side, prompt))));
const labels = { rows: ["base", "SPO"], columns: SHOWN };
await write(await contactSheet(tiles, { columns: SHOWN.length, labels }), "base-and-spo.png");
await write(join(folder, "least-improved.png"), "least-improved.png");
await write(join(folder, "base-above-spo.png"), "base-above-spo.png");
