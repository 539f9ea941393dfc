// Golden values of the scorers, from the Python packages' architectures on small random weights.
import { join } from "node:path";
import { type Case, Cases, type Check, collectCases, openGolden, readJson } from "@spo/diffusion";
import { noGrad, type SafetensorsFile, scope, tensor } from "@spo/torch";
import { loadBertTokenizer } from "../rewards/bert-tokenizer.js";
import { loadImageReward, loadImageRewardModel } from "../rewards/image-reward.js";
import { loadReward } from "../rewards/load-reward.js";
import type { RgbImage } from "../rewards/reward.js";
import { hpsPixels, torchvisionPixels, transformersPixels } from "../rewards/reward-pixels.js";

const DIR = "rewards";
const PIXELS = join(DIR, "pixels.safetensors");

/** Not every folder of fixtures has these: they are left out where it has none of them. */
export const rewardChecks: Check[] = [
  { name: "pixels of the scorers", files: [PIXELS], optional: DIR, run: checkPixels },
  {
    name: "PickScore and CLIP score",
    files: [PIXELS, join(DIR, "expected-clip.safetensors"), join(DIR, "clip")],
    optional: DIR,
    run: (folder) =>
      checkScores(folder, "expected-clip.safetensors", [
        ["pickscore", `pickscore:${join(folder, DIR, "clip")}`],
        ["clip", `clip:${join(folder, DIR, "clip")}`],
      ]),
  },
  {
    name: "LAION aesthetic",
    files: [
      PIXELS,
      join(DIR, "expected-clip.safetensors"),
      join(DIR, "clip"),
      join(DIR, "aesthetic-head.pth"),
    ],
    optional: DIR,
    run: (folder) =>
      checkScores(folder, "expected-clip.safetensors", [
        [
          "aesthetic",
          `aesthetic:${join(folder, DIR, "aesthetic-head.pth")},clip=${join(folder, DIR, "clip")}`,
        ],
      ]),
  },
  {
    name: "HPS v2",
    files: [
      PIXELS,
      join(DIR, "expected-hps.safetensors"),
      join(DIR, "open-clip", "tiny_hps.pt"),
      join(DIR, "clip"),
    ],
    optional: DIR,
    run: (folder) =>
      checkScores(folder, "expected-hps.safetensors", [
        [
          "hps",
          `hps:${join(folder, DIR, "open-clip", "tiny_hps.pt")},tokenizer=${join(folder, DIR, "clip")}`,
        ],
      ]),
  },
  {
    name: "ImageReward",
    files: [PIXELS, join(DIR, "expected-imagereward.safetensors"), join(DIR, "image-reward")],
    optional: DIR,
    run: checkImageReward,
  },
  {
    name: "BERT tokenizer",
    files: [join(DIR, "bert-cases.json"), join(DIR, "image-reward")],
    optional: DIR,
    run: checkBertTokenizer,
  },
];

/** `image.0`, `image.1`, …: uint8 [h, w, 3]. */
function imagesOf(file: SafetensorsFile): RgbImage[] {
  const images: RgbImage[] = [];
  for (let i = 0; file.has(`image.${i}`); i++) {
    const [height, width] = file.info(`image.${i}`).shape as [number, number];
    const data = scope(() => Uint8Array.from(file.get(`image.${i}`).toTypedArray() as Uint8Array));
    images.push({ data, width, height });
  }
  return images;
}

function checkPixels(folder: string): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, PIXELS);
    const images = imagesOf(file);
    const { size, mean, std } = meta as { size: number; mean: number[]; std: number[] };
    const processor = { size, mean, std };
    // One step of a byte would be 0.015: these say that Pillow's bytes are met exactly.
    cases.near("transformers", transformersPixels(images, processor), get("transformers"), 1e-6);
    cases.near("torchvision", torchvisionPixels(images, processor), get("torchvision"), 1e-6);
    cases.near("hps", hpsPixels(images, processor), get("hps"), 1e-5);
  });
}

async function checkScores(
  folder: string,
  golden: string,
  specs: readonly [name: string, spec: string][],
): Promise<Case[]> {
  const cases = new Cases();
  const images = imagesOf(openGolden(folder, PIXELS).file);
  const { file, get, meta } = openGolden(join(folder, DIR), golden);
  for (const [name, spec] of specs) {
    const reward = await loadReward(spec);
    const scores = await reward.score(images, meta.prompts as string[]);
    const features = await reward.features?.(images);
    scope(() => {
      // The cosine is right to 1e-6; the factor on it makes the rest.
      const expected = get(name);
      cases.near(name, tensor(scores), expected, (scale) => 2e-6 * Math.max(1, scale));
      // The aesthetic score sees other pixels than those of the file's features.
      if (name !== "aesthetic" && file.has("image_features"))
        cases.near(`${name}, image features`, tensor(features as number[][]), get("image_features"), 1e-6);
    });
    reward.dispose?.();
  }
  return cases.list;
}

function checkImageReward(folder: string): Case[] {
  return collectCases((cases) => {
    const { get, meta } = openGolden(join(folder, DIR), "expected-imagereward.safetensors");
    const given = openGolden(folder, PIXELS);
    const path = join(folder, DIR, "image-reward");
    const visionHeads = meta.vision_heads as number;
    const { model, size } = loadImageRewardModel(path, { visionHeads });
    const pixels = given.get("torchvision");
    cases.exact("image size", [size], [pixels.shape[2] as number]);
    const tokens = noGrad(() => model.imageTokens(pixels));
    cases.near("image_tokens", tokens, get("image_tokens"), 1e-5);
    const seen = get("attention_mask").ne(0);
    const scores = noGrad(() => model.scores(get("input_ids"), seen, tokens));
    cases.near("imagereward, from ids and pixels", scores, get("imagereward"), 1e-5);
    model.dispose();
    const reward = loadImageReward(path, undefined, { visionHeads });
    const whole = reward.score(imagesOf(given.file), meta.prompts as string[]) as number[];
    cases.near("imagereward", tensor(whole), get("imagereward"), 1e-5);
    reward.dispose?.();
  });
}

function checkBertTokenizer(folder: string): Case[] {
  const cases = new Cases();
  const tokenizer = loadBertTokenizer(join(folder, DIR, "image-reward"), ["[DEC]", "[ENC]"]);
  const golden = readJson(join(folder, DIR, "bert-cases.json"), { large: true }) as {
    max_length: number;
    cases: { prompt: string; ids: number[]; length: number }[];
  };
  const wrong = golden.cases.filter(({ prompt, ids, length }) => {
    const found = tokenizer.encode(prompt, golden.max_length);
    return found.ids.join() !== ids.join() || found.seen.filter(Boolean).length !== length;
  });
  const first = wrong[0] ? ` (first: ${JSON.stringify(wrong[0].prompt)})` : "";
  cases.list.push({
    case: `ids, ${golden.cases.length} prompts${first}`,
    maxError: golden.cases.length > 0 ? wrong.length : Number.NaN,
    tolerance: 0,
  });
  return cases.list;
}
