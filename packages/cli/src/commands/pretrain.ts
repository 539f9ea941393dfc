import {
  PretrainClipConfig,
  PretrainJudgeConfig,
  PretrainLrmConfig,
  PretrainTextToImageConfig,
  PretrainVaeConfig,
} from "@spo/example-emoji/schemas";
import type { Command } from "commander";
import { recipeCommand } from "./recipe-command.js";

const ARTWORK = "--data examples/emoji/data/artwork.parquet";
const TOKENIZER = "--tokenizer examples/emoji/tokenizer";

export default function (command: Command): void {
  command.description("Makes the small models that the example starts from.").helpCommand(false);
  recipeCommand(command.command("vae").summary("a small VAE, from captioned artwork"), {
    kind: "pretrain vae",
    schema: PretrainVaeConfig,
    about: "Trains a small VAE on artwork.",
    output: "vae",
    load: async () => (await import("@spo/example-emoji")).pretrainVae,
    example: `${ARTWORK} --run runs/vae`,
  });
  recipeCommand(command.command("text-to-image").summary("a small diffusion model on the VAE's latents"), {
    kind: "pretrain text-to-image",
    schema: PretrainTextToImageConfig,
    about: "Trains a small text-to-image model on captioned artwork.",
    output: "model",
    load: async () => (await import("@spo/example-emoji")).pretrainTextToImage,
    example: `${ARTWORK} --vae runs/vae/vae ${TOKENIZER} --run runs/base`,
  });
  recipeCommand(command.command("clip").summary("a small CLIP, for a preference model to start from"), {
    kind: "pretrain clip",
    schema: PretrainClipConfig,
    about: "Trains a small CLIP on captioned artwork.",
    output: "clip",
    load: async () => (await import("@spo/example-emoji")).pretrainClip,
    example: `${ARTWORK} --vae runs/vae/vae ${TOKENIZER} --run runs/clip`,
  });
  recipeCommand(
    command.command("lrm").summary("a small latent reward model, for a latent judge to start from"),
    {
      kind: "pretrain lrm",
      schema: PretrainLrmConfig,
      about: "Trains a latent reward model on captioned artwork, noised.",
      output: "lrm",
      load: async () => (await import("@spo/example-emoji")).pretrainLrm,
      example: `${ARTWORK} --model examples/emoji/model --run runs/lrm`,
    },
  );
  recipeCommand(command.command("judge").summary("a small judge of artwork, to label or to measure"), {
    kind: "pretrain judge",
    schema: PretrainJudgeConfig,
    about: "Trains a small network that says what a picture shows and whether it looks like real artwork.",
    output: "judge",
    load: async () => (await import("@spo/example-emoji")).pretrainJudge,
    example: "examples/emoji/recipes/judge.json --output runs/judge/judge --run runs/judge",
  });
}
