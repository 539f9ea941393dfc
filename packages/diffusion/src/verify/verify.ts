// Golden checks of models, tokenizer, sampling and LoRA, run by `spo verify` and by the tests. Sizes and settings are read from the files.
import { join } from "node:path";
import type { Tensor } from "@spo/torch";
import { readJson } from "../config.js";
import { loadUnet } from "../layouts/model-folder.js";
import { ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import type { GoldenSet } from "./golden-set.js";
import { type Case, type Check, collectCases, openGolden } from "./verify-check.js";
import { flowLayoutChecks } from "./verify-flow-layouts.js";
import { flowModuleChecks } from "./verify-flow-modules.js";
import { flowTrajectoryChecks } from "./verify-flow-trajectory.js";
import { layoutChecks } from "./verify-layouts.js";
import { checkVae, compareUnet, conditionsOf, GOLDEN_FAMILIES, type GoldenFamily } from "./verify-modules.js";
import { textChecks } from "./verify-text.js";
import { furtherTrajectoryChecks, trajectoryChecks } from "./verify-trajectory.js";
import { transformerChecks } from "./verify-transformers.js";

/** The checks of `spo verify` that need no preference: tokenizer, models, samplers, layouts. Each runs over a folder of golden values. */
export const diffusionChecks: readonly Check[] = [
  { name: "CLIP tokenizer", files: ["clip-tokenizer"], run: checkTokenizer },
  ...textChecks,
  ...GOLDEN_FAMILIES.map(
    (family): Check => ({
      name: `UNet, ${family}`,
      files: [`expected-${family}.safetensors`, `tiny-${family}`],
      run: (dir) => checkUnet(dir, family),
    }),
  ),
  ...GOLDEN_FAMILIES.map(
    (family): Check => ({
      name: `VAE, ${family}`,
      files: [`expected-${family}.safetensors`, `tiny-${family}`],
      run: (dir) => checkVae(dir, family, `tiny-${family}/vae`),
    }),
  ),
  ...trajectoryChecks,
  ...layoutChecks,
  ...flowModuleChecks,
  ...transformerChecks,
  ...flowLayoutChecks,
];

/** The golden checks of a set: those that every one has, and one for each further sampling that it holds. */
export const diffusionChecksOf = (set: GoldenSet): Check[] => [
  ...diffusionChecks,
  ...furtherTrajectoryChecks(set),
  ...flowTrajectoryChecks(set),
];

function checkTokenizer(dir: string): Case[] {
  return collectCases((cases) => {
    const folder = join(dir, "clip-tokenizer");
    const first = loadTokenizer(folder);
    const golden = readJson(join(folder, "cases.json"), { large: true }) as {
      cases: { prompt: string; length: number; ids_sd15: number[]; ids_sdxl_2: number[] }[];
    };
    if (golden.cases.length === 0) return;
    // SDXL's second one.
    const second = new ClipTokenizer({
      ...first.options,
      padToken: "!",
      normalizedTokens: ["<|startoftext|>", "<|endoftext|>"],
    });
    const wrong = { ids_sd15: 0, ids_sdxl_2: 0, length: 0 };
    for (const { prompt, length, ids_sd15, ids_sdxl_2 } of golden.cases) {
      const ids = first.encodePadded(prompt);
      wrong.ids_sd15 += Number(ids.join() !== ids_sd15.join());
      wrong.ids_sdxl_2 += Number(second.encodePadded(prompt).join() !== ids_sdxl_2.join());
      const end = ids[ids.length - 1] as number;
      wrong.length += Number(ids.indexOf(end) + 1 !== length && first.encode(prompt).length !== length);
    }
    for (const [name, count] of Object.entries(wrong))
      cases.list.push({ case: `${name}, ${golden.cases.length} prompts`, maxError: count, tolerance: 0 });
  });
}

function checkUnet(dir: string, family: GoldenFamily): Case[] {
  return collectCases((cases) => {
    const unet = loadUnet(join(dir, `tiny-${family}`, "unet"));
    compareUnet(cases, dir, family, unet, 1e-5);
    const { file, get } = openGolden(dir, `expected-${family}.safetensors`);
    const timesteps = get("unet/timesteps").toNumbers();
    const conditions = conditionsOf(dir, family);
    cases.near(
      "unet/odd_out",
      unet.forward(get("unet/odd_sample"), timesteps[1] as number, conditions),
      get("unet/odd_out"),
      1e-5,
    );
    cases.near(
      "unet/out_t_per_sample",
      unet.forward(get("unet/sample"), get("unet/t_per_sample"), conditions),
      get("unet/out_t_per_sample"),
      1e-5,
    );
    const tap = (name: string, value: Tensor): void => {
      const key = `unet/taps/${name}`;
      if (file.has(key)) cases.near(key, value, get(key), (scale) => 1e-5 * Math.max(1, scale));
    };
    unet.forward(get("unet/sample"), timesteps[1] as number, conditions, { tap });
    cases.covered(
      "unet/taps",
      file.keys().filter((key) => key.startsWith("unet/taps/")),
    );
    unet.dispose();
  });
}
