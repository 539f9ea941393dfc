import { join } from "node:path";
import { addLora, loadLora, loadUnet, UNet2DConditionModel } from "@spo/diffusion";
import {
  type Device,
  type DType,
  Generator,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  tensor,
  writeSafetensors,
} from "@spo/torch";
import { type Family, FULL_SIZE, linkUnet, unetFolder } from "./full-size.js";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

interface Work {
  name: string;
  family: Family;
  dtype: DType;
  /** Height and width of the latents. */
  size: number;
  /** With an adapter of rank 4 on the attention's projections, which learns. */
  lora?: boolean;
  /** Of the results: rounding in bfloat16 moves them by parts of a hundred. */
  tolerance: number;
}

const WORKS: readonly Work[] = [
  { name: "SD1.5, float32, forward", family: "sd15", dtype: "float32", size: 64, tolerance: 1e-4 },
  { name: "SD1.5, bfloat16, forward", family: "sd15", dtype: "bfloat16", size: 64, tolerance: 0.05 },
  {
    name: "SD1.5, float32, LoRA, forward + backward",
    family: "sd15",
    dtype: "float32",
    size: 64,
    lora: true,
    tolerance: 1e-3,
  },
  { name: "SDXL, bfloat16, forward", family: "sdxl", dtype: "bfloat16", size: 64, tolerance: 0.05 },
];
const TIMESTEP = 501;

interface Place {
  dtype: DType;
  device: Device;
}

const question: Question = {
  question:
    "What does a UNet of full size cost in time and memory, forward and with a LoRA's backward, against diffusers' eager mode?",
  peer:
    "diffusers' UNet2DConditionModel as from_pretrained gives it, eager, torch's scaled dot-product attention; the same weights and inputs. " +
    "Forward under inference_mode; the LoRA by add_adapter (peft), whose gradients are then set to None.",
  large: true,
  anyDevice: true,
  prepare: (folder) => {
    const generator = new Generator(7);
    const inputs = new Map<string, Tensor>();
    for (const family of ["sd15", "sdxl"] as const) {
      linkUnet(folder, family);
      const { cross_attention_dim: width } = FULL_SIZE[family].unet;
      inputs.set(`${family}/context`, randn([1, 77, width as number], { generator }));
    }
    inputs.set("sample", randn([1, 4, 64, 64], { generator }));
    inputs.set("sdxl/text_embeds", randn([1, 1280], { generator }));
    inputs.set("sdxl/time_ids", tensor([[512, 512, 0, 0, 512, 512]]));
    writeSafetensors(join(folder, "inputs.safetensors"), inputs);
    writeAdapter(folder, generator);
  },
  cases: (folder, device) => WORKS.map((work) => caseOf(folder, work, device)),
};
export default question;

/** An adapter of rank 4 in diffusers' layout, B of a size that shows in the output. No weights of the model are read for it. */
function writeAdapter(folder: string, generator: Generator): void {
  using unet = new UNet2DConditionModel(FULL_SIZE.sd15.unet);
  const adapter = addLora(unet, { rank: 4 }, generator).namedParameters();
  const values = new Map(
    [...adapter].map(([name, { shape }]): [string, Tensor] => [
      `unet.${name}`,
      scope(() => randn(shape, { generator }).mul(name.endsWith("down.weight") ? 0.25 : 0.01)),
    ]),
  );
  writeSafetensors(join(folder, "lora.safetensors"), values);
}

/** Loads the model when it is first asked: each case has a process of its own, and its peak holds the loading. */
function caseOf(folder: string, { name, family, dtype, size, lora, tolerance }: Work, device: Device): Case {
  let work: { run: () => void; result: () => number[] } | undefined;
  const loaded = () => {
    const place = { dtype, device };
    work ??= lora ? training(folder, family, place) : prediction(folder, family, place);
    return work;
  };
  return {
    name,
    shapes: `${family === "sd15" ? "860 million" : "2.6 billion"} weights, latents [1,4,${size},${size}], 77 tokens`,
    rounds: 3,
    target: { of: "cpu", ratio: 1 },
    peak: 0.9,
    tolerance,
    run: () => loaded().run(),
    result: () => loaded().result(),
  };
}

function prediction(folder: string, family: Family, place: Place) {
  const predict = predictor(folder, family, place).predict;
  return {
    run: () => noGrad(() => scope(() => void predict())),
    result: () => noGrad(() => scope(() => some(predict()))),
  };
}

function training(folder: string, family: Family, place: Place) {
  const { unet, predict } = predictor(folder, family, place);
  const lora = loadLora(unet, join(folder, "lora.safetensors"));
  const parameters = lora.parameters();
  const backward = (): void => predict().square().mean().backward();
  const forget = (): void => {
    for (const parameter of parameters) parameter.grad = undefined;
  };
  return {
    run: () => {
      scope(backward);
      forget();
    },
    result: () =>
      scope(() => {
        backward();
        const first = lora.layers.get("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q");
        const numbers = some(first?.lora_B.grad as Tensor);
        forget();
        return numbers;
      }),
  };
}

function predictor(folder: string, family: Family, { dtype, device }: Place) {
  const inputs = readSafetensors(join(folder, "inputs.safetensors"));
  const input = (name: string): Tensor => (inputs.get(name) as Tensor).to({ dtype, device });
  const unet = loadUnet(unetFolder(folder, family), { dtype, device });
  const [sample, context] = [input("sample"), input(`${family}/context`)];
  const added =
    family === "sdxl"
      ? {
          textEmbeds: input("sdxl/text_embeds"),
          timeIds: (inputs.get("sdxl/time_ids") as Tensor).to({ device }),
        }
      : undefined;
  return { unet, predict: () => unet.forward(sample, TIMESTEP, { context, ...added }) };
}
