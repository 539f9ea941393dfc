import { expect, test } from "vitest";
import { missingParts, neededFiles } from "./needed-files.js";

const PIPELINE = ["model_index.json", "unet/config.json", "tokenizer/merges.txt", "tokenizer/vocab.json"];
const weightsIn = (paths: readonly string[], variant?: string) =>
  neededFiles([...PIPELINE, ...paths], variant).files.filter((path) => !PIPELINE.includes(path));

test("safetensors go before pickles, and pickles before nothing", () => {
  const bin = "unet/diffusion_pytorch_model.bin";
  const safe = "unet/diffusion_pytorch_model.safetensors";
  expect(weightsIn([bin, safe])).toEqual([safe]);
  expect(weightsIn([bin])).toEqual([bin]);
});

test("all shards and their index come together", () => {
  const shards = [
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
  ];
  expect(weightsIn(shards)).toEqual(shards);
});

test("a variant's shards come with the variant's index", () => {
  const fp16 = [
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
  ];
  const plain = ["unet/diffusion_pytorch_model.safetensors"];
  expect(weightsIn([...plain, ...fp16], "fp16")).toEqual(fp16);
  expect(weightsIn([...plain, ...fp16])).toEqual(plain);
});

test("a folder without the variant gives its plain weights and is told", () => {
  const paths = [...PIPELINE, "unet/diffusion_pytorch_model.safetensors"];
  expect(neededFiles(paths, "fp16")).toMatchObject({ otherVariant: ["unet"], withoutWeights: [] });
});

test("a variant that nobody asked for stands in for nothing", () => {
  const paths = [...PIPELINE, "unet/diffusion_pytorch_model.fp16.safetensors"];
  expect(neededFiles(paths).withoutWeights).toEqual(["unet"]);
  expect(neededFiles([...PIPELINE, "unet/diffusion_pytorch_model.non_ema.bin"]).withoutWeights).toEqual([
    "unet",
  ]);
});

test("of a model's own folder its configs and one set of weights come, not what lies below", () => {
  const paths = [
    "config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "onnx/model.onnx",
    "vocab.json",
    "tf_model.h5",
  ];
  expect(neededFiles(paths).files).toEqual(["config.json", "vocab.json", "model.safetensors"]);
});

test("the parts that a model index names and a folder lacks are told", () => {
  const index = {
    _class_name: "StableDiffusionPipeline",
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
    safety_checker: [null, null],
    text_encoder_2: [null, null],
  };
  const paths = [...PIPELINE, "unet/diffusion_pytorch_model.safetensors"];
  expect(missingParts(paths, index)).toEqual(["vae/"]);
});

test("a latent reward model has its UNet, its text encoders and its state, and no index", () => {
  const own = [
    "config.json",
    "state_dict.pt",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
  ];
  const paths = [...own, "optimizer.pt", "text_encoder/pytorch_model.bin", "samples/0.png", ".gitattributes"];
  const { files, withoutWeights } = neededFiles(paths);
  expect(files.toSorted()).toEqual(own.toSorted());
  expect(withoutWeights).toEqual([]);
  expect(missingParts(own, undefined)).toEqual([]);
  const without = own.filter((path) => !path.startsWith("unet/diff"));
  expect(missingParts(without, undefined)).toEqual(["unet/"]);
  expect(
    missingParts(
      own.filter((path) => !path.startsWith("text_encoder/")),
      undefined,
    ),
  ).toEqual(["text_encoder/"]);
});
