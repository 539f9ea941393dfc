import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadUnet } from "@spo/diffusion";
import {
  Generator,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  tensor,
  writeSafetensors,
} from "@spo/torch";
import { CONTEXT, writeUnet } from "./models.js";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

const fixture = fileURLToPath(new URL("../../../shared/fixtures/tiny-sd15/unet", import.meta.url));
const models = (
  folder: string,
): { name: string; folder: string; latent: number; context: readonly number[] }[] => [
  { name: "32/64/128", folder: join(folder, "unet"), latent: 16, context: CONTEXT },
  ...(existsSync(fixture) ? [{ name: "tiny-sd15", folder: fixture, latent: 8, context: [12, 24] }] : []),
];
const BATCHES = [1, 8, 32];

const question: Question = {
  question: "What does a small UNet cost, forward and forward + backward, against diffusers' eager mode?",
  peer:
    "diffusers' UNet2DConditionModel as from_pretrained gives it, eager; the same weights and inputs. " +
    "Forward under no_grad; backward to all parameters, whose gradients are then set to None.",
  prepare: (folder) => {
    writeUnet(join(folder, "unet"));
    const generator = new Generator(7);
    const inputs = new Map<string, Tensor>();
    for (const { name, latent, context } of models(folder)) {
      for (const batch of BATCHES) {
        inputs.set(`${name}/${batch}/sample`, randn([batch, 4, latent, latent], { generator }));
        inputs.set(`${name}/${batch}/context`, randn([batch, ...context], { generator }));
        inputs.set(
          `${name}/${batch}/timesteps`,
          tensor(
            Array.from({ length: batch }, (_, i) => (i * 37 + 501) % 1000),
            { dtype: "int64" },
          ),
        );
      }
    }
    writeSafetensors(join(folder, "inputs.safetensors"), inputs, {});
  },
  cases: (folder) => {
    const inputs = readSafetensors(join(folder, "inputs.safetensors"));
    return models(folder).flatMap(({ name, folder: model }) => {
      const unet = loadUnet(model).requiresGrad_();
      const parameters = unet.parameters();
      return BATCHES.flatMap((batch): Case[] => {
        const of = (what: string): Tensor => inputs.get(`${name}/${batch}/${what}`) as Tensor;
        const [sample, timesteps, context] = [of("sample"), of("timesteps"), of("context")];
        const predict = (): Tensor => unet.forward(sample, timesteps, { context });
        const backward = (): void => predict().square().mean().backward();
        const shapes = `${name}: latents [${sample.shape}], context [${context.shape}]`;
        const target = { of: "cpu", ratio: 1 } as const;
        return [
          {
            name: `${name}, batch ${batch}, forward`,
            shapes,
            target,
            run: () => noGrad(() => scope(() => void predict())),
            result: () => noGrad(() => scope(() => some(predict()))),
          },
          {
            name: `${name}, batch ${batch}, forward + backward`,
            shapes,
            target,
            run: () => {
              scope(backward);
              for (const parameter of parameters) parameter.grad = undefined;
            },
            result: () =>
              scope(() => {
                backward();
                const gradient = unet.conv_in.weight.grad as Tensor;
                for (const parameter of parameters) parameter.grad = undefined;
                return some(gradient);
              }),
          },
        ];
      });
    });
  },
};
export default question;
