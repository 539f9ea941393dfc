import { join } from "node:path";
import { loadVae } from "@spo/diffusion";
import { Generator, noGrad, randn, readSafetensors, scope, type Tensor, writeSafetensors } from "@spo/torch";
import { writeVae } from "./models.js";
import { some } from "./numbers.js";
import type { Question } from "./question.js";

const BATCHES = [1, 16];

const question: Question = {
  question: "What does decoding latents to pixels cost?",
  peer: "diffusers' AutoencoderKL.decode of the whole batch, eager, no_grad. Ours decodes in chunks of 8, as everywhere.",
  prepare: (folder) => {
    writeVae(join(folder, "vae"));
    const generator = new Generator(7);
    const latents = BATCHES.map((batch): [string, Tensor] => [
      `${batch}`,
      randn([batch, 4, 16, 16], { generator }),
    ]);
    writeSafetensors(join(folder, "inputs.safetensors"), new Map(latents), {});
  },
  cases: (folder) => {
    const inputs = readSafetensors(join(folder, "inputs.safetensors"));
    const vae = loadVae(join(folder, "vae"));
    return BATCHES.map((batch) => {
      const latents = inputs.get(`${batch}`) as Tensor;
      const decode = (): Tensor => vae.decodeLatents(latents);
      return {
        name: `batch ${batch}`,
        shapes: `latents [${latents.shape}] → pixels [${batch}, 3, 64, 64]`,
        target: { of: "cpu", ratio: 1 },
        run: () => noGrad(() => scope(() => void decode())),
        result: () => noGrad(() => scope(() => some(decode()))),
      };
    });
  },
};
export default question;
