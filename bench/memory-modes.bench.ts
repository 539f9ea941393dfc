import { join } from "node:path";
import {
  addLora,
  loadUnet,
  saveModel,
  type UNet2DConditionConfig,
  UNet2DConditionModel,
} from "@spo/diffusion";
import {
  autocast,
  Generator,
  keep,
  mseLoss,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { initialized } from "./models.js";
import { some } from "./numbers.js";
import type { Question } from "./question.js";

/** Stable Diffusion 1.5 with a fifth of its width: 35 million weights, maps of the published size. */
const MEDIUM: UNet2DConditionConfig = {
  sample_size: 64,
  block_out_channels: [64, 128, 256, 256],
  layers_per_block: 2,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  cross_attention_dim: 256,
  attention_head_dim: 4,
};
const BATCH = 2;

interface Mode {
  name: string;
  dtype?: "float32" | "bfloat16" | "float16";
  checkpointed?: boolean;
  rowMajor?: boolean;
  /** Without what learns. */
  forward?: boolean;
}

const MODES: readonly Mode[] = [
  { name: "float32" },
  { name: "float32, checkpointed", checkpointed: true },
  { name: "float32, row-major", rowMajor: true },
  { name: "bfloat16", dtype: "bfloat16" },
  { name: "bfloat16, checkpointed", dtype: "bfloat16", checkpointed: true },
  { name: "forward, float32", forward: true },
  { name: "forward, float32, row-major", forward: true, rowMajor: true },
];

const question: Question = {
  question:
    "What do the memory modes of a training give and cost: gradient checkpointing, bfloat16 by autocast, row-major maps instead of channels last?",
  large: true, // each mode in a process of its own, for its peak
  prepare: (folder) => {
    saveModel(join(folder, "unet"), initialized(new UNet2DConditionModel(MEDIUM), 1));
    const generator = new Generator(7);
    writeSafetensors(
      join(folder, "inputs.safetensors"),
      new Map([
        ["sample", randn([BATCH, 4, 64, 64], { generator })],
        ["context", randn([BATCH, 77, 256], { generator })],
        ["noise", randn([BATCH, 4, 64, 64], { generator })],
      ]),
      {},
    );
  },
  cases: (folder) =>
    MODES.map(({ name, dtype = "float32", checkpointed = false, rowMajor = false, forward = false }) => {
      let work: (() => Tensor) | undefined;
      const load = (): (() => Tensor) => {
        const inputs = keep(readSafetensors(join(folder, "inputs.safetensors")));
        const input = (key: string): Tensor => inputs.get(key) as Tensor;
        const unet = loadUnet(join(folder, "unet"), { dtype });
        if (rowMajor) unet.arrange_("contiguous");
        const lora = addLora(unet, { rank: 4 }, new Generator(3));
        unet.gradientCheckpointing = checkpointed;
        const predict = (): Tensor =>
          unet.forward(input("sample").to({ dtype }), 401, { context: input("context").to({ dtype }) });
        if (forward) return () => noGrad(() => lora.without(predict));
        return () => {
          const noise = dtype === "float32" ? predict() : autocast({ dtype }, predict);
          mseLoss(noise.to({ dtype: "float32" }), input("noise")).backward();
          for (const parameter of lora.parameters()) parameter.grad = undefined;
          return noise;
        };
      };
      const once = (): Tensor => {
        work ??= load();
        return work();
      };
      return {
        name,
        shapes: `64/128/256/256: latents [${BATCH}, 4, 64, 64], context [${BATCH}, 77, 256]; a LoRA of rank 4 learns`,
        rounds: 3,
        run: () => scope(() => void once()),
        result: () => scope(() => some(once().to({ dtype: "float32" }))),
      };
    }),
};
export default question;
