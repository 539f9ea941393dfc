// Models and data so small that a recipe's whole loop runs in a fast test.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  initializeClipEmbeddings,
  loadTokenizer,
  StableDiffusion,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { type Event, Run } from "@spo/records";
import { clipProcessor } from "@spo/scorers";
import { Generator, initialize, noGrad } from "@spo/torch";
import sharp from "sharp";
import { saveLrm } from "../spm/lrm-files.js";
import { initializeTimeConditioning, StepAwarePreferenceModel, saveSpm } from "../spm/spm.js";
import { tinyLrm } from "../tiny-lrm.fixture.js";
import { TINY, TINY_SPM } from "../tiny-models.fixture.js";
import type { RecipeEvent, RecipeOptions } from "./recipe.js";

/** Side of the images, pixels. */
const SIDE = 16;

export const PROMPTS = ["red apple", "green leaf", "blue fish", "yellow sun", "white cloud"];

export interface TinyWorld {
  /** Diffusers folder. */
  model: string;
  /** A preference model's folder: of the kind that looks at images. */
  spm: string;
  /** One that looks at latents. */
  lrm: string;
  /** CSV beside its images: 10 pairs of the split train, 4 of the split test; prompts have 1 to 4 examples. */
  pairs: string;
  /** PROMPTS, one a line. */
  prompts: string;
}

/** Writes a diffusion model, a preference model, pairs and prompts into a folder. */
export async function makeTinyWorld(folder: string): Promise<TinyWorld> {
  mkdirSync(folder, { recursive: true });
  const at = (name: string): string => join(folder, name);
  const tokenizer = loadTokenizer(
    fileURLToPath(new URL("../../../../examples/emoji/tokenizer", import.meta.url)),
  );
  const vocab_size = Object.keys(tokenizer.options.vocabulary).length;
  const generator = new Generator(1);
  const models = {
    textEncoder: new CLIPTextModel({ ...TINY.sd15.text_encoder, vocab_size }),
    unet: new UNet2DConditionModel(TINY.sd15.unet),
    vae: new AutoencoderKL(TINY.sd15.vae),
  };
  for (const module of Object.values(models)) initialize(module, generator);
  noGrad(() => initializeClipEmbeddings(models.textEncoder, generator));
  new StableDiffusion({ tokenizer, ...models }).save(at("model"));
  const spm = new StepAwarePreferenceModel({
    ...TINY_SPM,
    text_config: { ...TINY_SPM.text_config, vocab_size },
  });
  initialize(spm, generator);
  initializeTimeConditioning(spm, generator);
  noGrad(() => {
    for (const [name, value] of spm.namedParameters()) {
      if (/embedding|projection|class/.test(name)) value.normal_(0, 0.5, { generator });
      if (name === "logit_scale") value.fill_(2);
    }
  });
  saveSpm(at("spm"), spm, clipProcessor(16));
  saveLrm(at("lrm"), tinyLrm("sd15", { vocab_size }));
  writeFileSync(at("prompts.txt"), `${PROMPTS.join("\n")}\n`);
  return {
    model: at("model"),
    spm: at("spm"),
    lrm: at("lrm"),
    prompts: at("prompts.txt"),
    pairs: await writePairs(at("pairs")),
  };
}

/** Squares of two colours: the winner's upper half has its caption's. */
async function writePairs(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const colours = ["#d22", "#2a2", "#22d", "#dd2", "#fff"];
  for (const [i, colour] of colours.entries()) {
    const lower = await sharp({ create: { width: SIDE, height: SIDE / 2, channels: 3, background: "#888" } })
      .png()
      .toBuffer();
    await sharp({ create: { width: SIDE, height: SIDE, channels: 3, background: colour } })
      .composite([{ input: lower, top: SIDE / 2, left: 0 }])
      .png()
      .toFile(join(folder, `${i}.png`));
  }
  const rows = Array.from({ length: 14 }, (_, i) => {
    const [win, lose] = [i % 5, (i + 1 + (i % 3)) % 5];
    const first = i % 2;
    const images = first ? [win, lose] : [lose, win];
    return [
      PROMPTS[win],
      ...images.map((n) => `${n}.png`),
      first,
      1 - first,
      1 + (i % 4),
      i < 10 ? "train" : "test",
    ];
  });
  const header = "prompt,image_0,image_1,label_0,label_1,num_example_per_prompt,split";
  writeFileSync(join(folder, "pairs.csv"), [header, ...rows.map((row) => row.join(",")), ""].join("\n"));
  return folder;
}

/** Runs a recipe to its end, or until it throws, and gives the events of its log. */
export async function eventsOfRun<Config extends object>(
  folder: string,
  kind: string,
  config: Config,
  recipe: (config: Config, options: RecipeOptions) => AsyncGenerator<RecipeEvent>,
  onPhase?: (phase: RecipeEvent) => void,
): Promise<Event[]> {
  using run = Run.open(folder, { kind, config });
  for await (const _ of recipe(config, {
    run,
    signal: new AbortController().signal,
    onPhase,
  }));
  return run.events();
}

/** The metrics of a run's updates. */
export const stepMetrics = (events: readonly Event[]): Record<string, number | null>[] =>
  events.flatMap((event) => (event.type === "step" ? [event.metrics] : []));
