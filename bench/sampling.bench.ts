import { join } from "node:path";
import { guide, loadUnet, VpSchedule } from "@spo/diffusion";
import {
  cat,
  Generator,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { CONTEXT, SCHEDULE, writeUnet } from "./models.js";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

const STEPS = 20;
const GUIDANCE = 5;
const BATCHES = [1, 8];

const question: Question = {
  question: "What does sampling cost: 20 steps of DDIM with guidance?",
  peer: "diffusers' UNet2DConditionModel and DDIMScheduler in the loop of StableDiffusionPipeline, without its text encoder and VAE; eager, no_grad.",
  prepare: (folder) => {
    writeUnet(join(folder, "unet"));
    const generator = new Generator(7);
    const inputs = new Map<string, Tensor>([["empty", randn([1, ...CONTEXT], { generator })]]);
    for (const batch of BATCHES) {
      inputs.set(`${batch}/latents`, randn([batch, 4, 16, 16], { generator }));
      inputs.set(`${batch}/context`, randn([batch, ...CONTEXT], { generator }));
    }
    writeSafetensors(join(folder, "inputs.safetensors"), inputs, {});
  },
  cases: (folder) => {
    const inputs = readSafetensors(join(folder, "inputs.safetensors"));
    const unet = loadUnet(join(folder, "unet"));
    const schedule = new VpSchedule(SCHEDULE);
    const empty = inputs.get("empty") as Tensor;
    return BATCHES.map((batch): Case => {
      const latents = inputs.get(`${batch}/latents`) as Tensor;
      const context = inputs.get(`${batch}/context`) as Tensor;
      // What `sampleLatents` does after the prompts are encoded.
      const sample = (): Tensor => {
        const both = cat([empty.expand([batch, ...CONTEXT]), context]);
        let xt = latents;
        for (const t of schedule.timesteps(STEPS)) {
          xt = scope(() => {
            const eps = guide(unet.forward(xt, t, { context: both }), GUIDANCE);
            const previous = schedule.previousTimestep(t, STEPS);
            return schedule.step(xt, eps, { t, previous, eta: 0 }).mean;
          });
        }
        return xt;
      };
      return {
        name: `batch ${batch}`,
        shapes: `latents [${latents.shape}], context [${context.shape}], 20 steps, guidance ${GUIDANCE}`,
        target: { of: "cpu", ratio: 1 },
        tolerance: 2e-3,
        run: () => noGrad(() => scope(() => void sample())),
        result: () => noGrad(() => scope(() => some(sample()))),
      };
    });
  },
};
export default question;
