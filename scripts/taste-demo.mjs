// @ts-check
// Proves the demo of taste with a scripted judge that likes dark images: votes, both trainings, and held-out images of before and after.
// Prints the figures of docs/studio.md and writes docs/images/taste.png.
//
//   node scripts/taste-demo.mjs FOLDER      what is done in FOLDER is not done again
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { contactSheet, readImageSet } from "@spo/data";
import { bootstrapMean, mean, VoteLog, winRate } from "@spo/records";
import sharp from "sharp";
import { prepareTaste, tasteWords } from "../packages/cli/dist/jobs/taste-demo.js";
import { root } from "./setup/root.mjs";

/** Prompts of the picture. */
const SHOWN = 8;
/** Nobody sees a smaller difference in darkness, of 255. */
const TIE = 8;

const [folder] = process.argv.slice(2);
if (!folder) throw new Error("node scripts/taste-demo.mjs FOLDER");
/** @param {string[]} words */
const spo = (...words) => {
  const program = join(root, "packages", "cli", "bin", "spo.js");
  execFileSync(process.execPath, [program, ...words, "--quiet"], { stdio: ["ignore", "ignore", "inherit"] });
};
/** 255 less the mean of red, green and blue. @param {string} path */
const darkness = async (path) =>
  255 - mean((await sharp(path).removeAlpha().stats()).channels.map((c) => c.mean));

await prepareTaste(folder);
const set = join(folder, "taste");
const votes = `${set}.votes.jsonl`;
/** @type {{prompt: string, image_0: string, image_1: string}[]} */
const pairs = readFileSync(join(set, "pairs.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
/** @type {number[]} */
const seen = [];
for (const { image_0, image_1 } of pairs)
  for (const image of [image_0, image_1]) seen.push(await darkness(join(set, image)));
if (!existsSync(votes)) {
  const log = await VoteLog.open(votes);
  for (const [i, { prompt, ...images }] of pairs.entries()) {
    const [a, b] = [seen[2 * i] ?? 0, seen[2 * i + 1] ?? 0];
    const [image_0, image_1] = [images.image_0, images.image_1].map((image) =>
      createHash("sha256")
        .update(readFileSync(join(set, image)))
        .digest("hex"),
    );
    const preference = Math.abs(a - b) < TIE ? 0.5 : Number(a > b);
    await log.append({
      ...{ schema: "spo.vote/1", id: `scripted-${i}`, prompt, labeller: "scripted", preference },
      ...{ image_0: image_0 ?? "", image_1: image_1 ?? "" },
    });
  }
  await log.close();
}
const run = join(folder, "taste-trained");
spo("train", "votes", set, "--run", run, ...tasteWords());

const at = join(root, "examples", "emoji");
/** @type {Record<string, {path: string, prompt: string, value: number}[]>} */
const found = {};
for (const [name, model] of Object.entries({ base: join(at, "model"), trained: join(run, "spo", "model") })) {
  const images = join(folder, `${name}-held-out`);
  const drawn = ["--seed", "9000", "--guidance-scale", "1", "--eta", "1", "--batch", "8"];
  if (!existsSync(images) || readdirSync(images).length === 0)
    spo(
      "sample",
      "--prompts",
      join(at, "prompts", "held-out.txt"),
      "--model",
      model,
      "--output",
      images,
      ...drawn,
    );
  found[name] = [];
  for (const { path, prompt } of readImageSet(images))
    found[name]?.push({ path, prompt, value: await darkness(path) });
}
const [base = [], trained = []] = [found.base, found.trained];
const groups = base.map(({ prompt }) => prompt);
/** Of the pairs that were judged: half of their images are darker. */
const dark = [...seen].sort((a, b) => a - b)[seen.length >> 1] ?? 0;
/** @param {{value: number}[]} of */
const share = (of) =>
  bootstrapMean(
    of.map(({ value }) => Number(value > dark)),
    { groups },
  );
/** @param {import("@spo/records").Estimate} estimate */
const words = ({ value, low, high }) =>
  `${(100 * value).toFixed(0)} % (${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)} %)`;
console.log(`dark images: base ${words(share(base))}, trained ${words(share(trained))}`);
const wins = winRate(
  base.map(({ value }) => value),
  trained.map(({ value }) => value),
  { groups },
);
console.log(`darker than the base's of the same noise: ${words(wins)} of ${base.length}`);
/** Images of the first prompts. @param {{path: string}[]} of */
const row = (of) => of.slice(0, SHOWN).map(({ path }) => readFileSync(path));
const sheet = await contactSheet([...row(base), ...row(trained)], { columns: SHOWN, side: 96 });
writeFileSync(
  join(root, "docs", "images", "taste.png"),
  await sharp(sheet).png({ palette: true, quality: 90, effort: 10 }).toBuffer(),
);
