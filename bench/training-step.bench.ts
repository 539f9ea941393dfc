import { join } from "node:path";
import { loadUnet } from "@spo/diffusion";
import {
  AdamW,
  Generator,
  liveTensors,
  mseLoss,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  tensor,
  writeSafetensors,
} from "@spo/torch";
import { CONTEXT, writeUnet } from "./models.js";
import type { Question } from "./question.js";

const BATCH = 16;

const question: Question = {
  question:
    "What does a training step of a small UNet cost in time and memory, and does it free all that it allocates?",
  peer: "diffusers' UNet2DConditionModel, mse_loss to the noise, torch.optim.AdamW(fused=True), zero_grad(set_to_none=True).",
  prepare: (folder) => {
    writeUnet(join(folder, "unet"));
    const generator = new Generator(7);
    const timesteps = tensor(
      Array.from({ length: BATCH }, (_, i) => (i * 61) % 1000),
      { dtype: "int64" },
    );
    writeSafetensors(
      join(folder, "inputs.safetensors"),
      new Map<string, Tensor>([
        ["sample", randn([BATCH, 4, 16, 16], { generator })],
        ["context", randn([BATCH, ...CONTEXT], { generator })],
        ["noise", randn([BATCH, 4, 16, 16], { generator })],
        ["timesteps", timesteps],
      ]),
      {},
    );
  },
  cases: (folder) => {
    const inputs = readSafetensors(join(folder, "inputs.safetensors"));
    const input = (name: string): Tensor => inputs.get(name) as Tensor;
    const [sample, context, noise, timesteps] = [
      input("sample"),
      input("context"),
      input("noise"),
      input("timesteps"),
    ];
    const unet = loadUnet(join(folder, "unet")).requiresGrad_();
    const optimizer = new AdamW(unet.parameters(), { lr: 1e-4 });
    const losses: number[] = [];
    const step = (): void => {
      scope(() => {
        const loss = mseLoss(unet.forward(sample, timesteps, { context }), noise);
        loss.backward();
        losses.push(loss.item());
      });
      optimizer.step();
      optimizer.zeroGrad();
    };
    return [
      {
        name: "step",
        shapes: `32/64/128: latents [${sample.shape}], context [${context.shape}]; all 4.2 million weights learn`,
        target: { of: "cpu", ratio: 1 },
        tolerance: 1e-3,
        run: step,
        // Before anything is timed: both sides have made as many steps from the same weights.
        result: () => {
          for (let i = 0; i < 3; i++) step();
          return losses;
        },
        facts: () => {
          // The allocator's and V8's pools have their size after a while.
          for (let i = 0; i < 50; i++) step();
          const [live, resident] = [liveTensors(), process.memoryUsage.rss()];
          const steps = 200;
          for (let i = 0; i < steps; i++) step();
          return {
            liveTensorsPerStep: (liveTensors() - live) / steps,
            residentBytesPerStep: (process.memoryUsage.rss() - resident) / steps,
          };
        },
      },
    ];
  },
};
export default question;
