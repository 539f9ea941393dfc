// Settings of how a training computes. No tensor code: help and checks need no engine.
import { z } from "zod";

/** For the schema of a recipe that can compute elsewhere than on the CPU. */
export const deviceSettings = {
  device: z
    .string()
    .regex(/^(cpu|cuda(:\d+)?|mps|meta)$/, "cpu, cuda or cuda:N")
    .default("cpu")
    .describe("where everything is computed: cpu, cuda or cuda:N; random numbers are the same on each"),
};

/** For the schema of a recipe that may keep no activations. */
export const checkpointingSettings = {
  gradientCheckpointing: z
    .boolean()
    .default(false)
    .describe(
      "keep no activations inside blocks but compute them again for the gradients: less memory, more time",
    ),
};

/** For the schema of a recipe that trains a UNet. */
export const precisionSettings = {
  ...deviceSettings,
  dtype: z
    .enum(["float32", "bfloat16", "float16"])
    .default("float32")
    .describe(
      "of the UNet's products and, where it is frozen, of its weights; what learns stays float32. float16 scales the loss",
    ),
  ...checkpointingSettings,
  memoryFormat: z
    .enum(["contiguous", "channels_last"])
    .nullable()
    .default(null)
    .describe("order of convolution kernels and maps; null: channels_last on a CPU, where it is faster"),
};
