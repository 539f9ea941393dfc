import { join } from "node:path";
import { loadUnet } from "@spo/diffusion";
import {
  type DType,
  elementSize,
  Generator,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { type Family, FULL_SIZE, linkUnet, unetFolder } from "./full-size.js";
import { writeUnet } from "./models.js";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** Their numbers are compared: of each kind of layer one, none so large that reading it would show in the peak. */
const COMPARED = [
  "conv_in.weight",
  "time_embedding.linear_1.bias",
  "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight",
  "down_blocks.1.resnets.0.conv_shortcut.weight",
  "mid_block.resnets.0.norm1.weight",
  "conv_out.weight",
];
const TIMESTEP = 501;

const question: Question = {
  question: "What does loading a UNet's folder cost, alone and with the first pass, which reads the weights?",
  peer:
    "diffusers' UNet2DConditionModel.from_pretrained(folder), with its defaults and the dtype that the file has; the file is in the system's " +
    "cache. The pass under inference_mode.",
  large: true,
  prepare: (folder) => {
    const generator = new Generator(7);
    writeUnet(join(folder, "unet"));
    for (const family of ["sd15", "sdxl"] as const) linkUnet(folder, family);
    const inputs = new Map<string, Tensor>([
      ["sample", randn([1, 4, 64, 64], { generator })],
      ["context", randn([1, 77, FULL_SIZE.sd15.unet.cross_attention_dim as number], { generator })],
    ]);
    writeSafetensors(join(folder, "inputs.safetensors"), inputs);
  },
  cases: (folder) => [
    {
      name: "UNet",
      shapes: "32/64/128: 4.2 million weights, float32, one safetensors file",
      target: { of: "cpu", ratio: 1 },
      run: () => loadUnet(join(folder, "unet")).dispose(),
      result: () => {
        const unet = loadUnet(join(folder, "unet"));
        // By name: the order of the layers in the two classes is not the same.
        const byName = [...unet.namedParameters()].sort(([a], [b]) => (a < b ? -1 : 1));
        const numbers = byName.flatMap(([, weight]) => some(weight, 2));
        unet.dispose();
        return numbers;
      },
    },
    loading(folder, "SD1.5, float32, load", "sd15", "float32"),
    firstPass(folder),
    loading(folder, "SDXL, bfloat16, load", "sdxl", "bfloat16"),
  ],
};
export default question;

const SHAPES: Readonly<Record<Family, string>> = {
  sd15: "860 million weights, float32, one safetensors file",
  sdxl: "2.6 billion weights, bfloat16, one safetensors file",
};

/** To a model that is ready. */
function loading(folder: string, name: string, family: Family, dtype: DType): Case {
  const load = () => loadUnet(unetFolder(folder, family), { dtype });
  let growth = Number.NaN;
  return {
    name,
    shapes: SHAPES[family],
    rounds: 7,
    target: { of: "wall", ratio: 1 },
    run: () => load().dispose(),
    // The first of its process, so that no memory of an earlier model is taken again.
    result: () => {
      const before = process.memoryUsage.rss();
      const unet = load();
      const grown = process.memoryUsage.rss() - before;
      growth =
        grown / unet.parameters().reduce((sum, { numel, dtype: of }) => sum + numel * elementSize(of), 0);
      const named = unet.namedParameters();
      const numbers = COMPARED.flatMap((each) => some(named.get(each) as Tensor));
      unet.dispose();
      return numbers;
    },
    facts: () => {
      const start = performance.now();
      load().dispose();
      return { seconds: round((performance.now() - start) / 1e3), "memory by weights": round(growth) };
    },
    limits: { seconds: 1, "memory by weights": 1.05 },
  };
}

/** To the end of the first pass: what loading put off is then done. */
function firstPass(folder: string): Case {
  const { sample, context } = Object.fromEntries(readSafetensors(join(folder, "inputs.safetensors")));
  const load = () => loadUnet(unetFolder(folder, "sd15"));
  const pass = <T>(unet: ReturnType<typeof load>, use: (y: Tensor) => T): T =>
    noGrad(() => {
      const y = scope(() => unet.forward(sample as Tensor, TIMESTEP, { context: context as Tensor }));
      const used = use(y);
      y.dispose();
      return used;
    });
  return {
    name: "SD1.5, float32, load + first forward",
    shapes: `${SHAPES.sd15}; latents [1,4,64,64], 77 tokens`,
    rounds: 5,
    peak: 1,
    run: () => {
      using unet = load();
      pass(unet, () => {});
    },
    result: () => {
      using unet = load();
      return pass(unet, (y) => some(y));
    },
  };
}

const round = (value: number): number => Number(value.toPrecision(3));
