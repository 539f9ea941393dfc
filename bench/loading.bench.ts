import { join } from "node:path";
import { loadUnet } from "@spo/diffusion";
import { writeUnet } from "./models.js";
import { some } from "./numbers.js";
import type { Question } from "./question.js";

const question: Question = {
  question: "What does loading a UNet's folder cost?",
  peer: "diffusers' UNet2DConditionModel.from_pretrained(folder), with its defaults; the file is in the system's cache.",
  prepare: (folder) => writeUnet(join(folder, "unet")),
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
  ],
};
export default question;
