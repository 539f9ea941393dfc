// The demo of taste: pairs of the embedded model's images to be judged, and how a model is trained on the votes.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EXAMPLE_FOLDER } from "@spo/example-emoji/folder";
import { makeFolder, writeFileAtomic } from "@spo/torch/files";
import { say } from "../terminal/terminal.js";
import { runSelf } from "./run-self.js";

/** The folder of the pairs. */
export const TASTE_SET = "taste";

/** Prompts of which a pair is drawn. */
const PAIRS = 40;

/** The words of `spo train votes` that train the embedded model. */
export function tasteWords(): string[] {
  const at = (...path: string[]): string => join(EXAMPLE_FOLDER, ...path);
  const spm = ["--spm", at("recipes", "taste-spm.json"), `init=${at("clip")}`];
  const heldOut = `heldOut=${at("prompts", "held-out.txt")}`;
  return ["--model", at("model"), ...spm, "--spo", at("recipes", "taste-spo.json"), heldOut];
}

/** Draws the pairs into `TASTE_SET` of a folder, unless they are there: each of a prompt and two seeds of its own. */
export async function prepareTaste(folder: string): Promise<void> {
  const set = join(folder, TASTE_SET);
  if (existsSync(set)) return;
  say(`drawing ${PAIRS} pairs, which takes a minute or two …`);
  makeFolder(folder);
  const prompts = join(folder, "taste-prompts.txt");
  const lines = readFileSync(join(EXAMPLE_FOLDER, "prompts", "train.txt"), "utf8")
    .trim()
    .split("\n");
  const seeded = lines.slice(0, PAIRS).map((prompt, i) => `${prompt} --d ${2 * (i + 1)}\n`);
  writeFileAtomic(prompts, seeded.join(""));
  const images = join(folder, "taste-images");
  const sampling = [
    "--guidance-scale",
    "1",
    "--eta",
    "1",
    "--count",
    "2",
    "--batch",
    "8",
    "--output",
    images,
  ];
  await runSelf(["sample", "--prompts", prompts, "--model", join(EXAMPLE_FOLDER, "model"), ...sampling]);
  await runSelf(["data", "side-by-side", `base=${images}`, "--output", set]);
}
