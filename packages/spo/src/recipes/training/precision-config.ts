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

/** For the schema of a recipe: the dtype of a model that does not learn. */
export const frozenDtype = z.enum(["float32", "bfloat16", "float16"]).default("float32");

/** For the schema of a recipe that passes images through a VAE. */
export const vaeSettings = {
  vaeDtype: frozenDtype.describe(
    "of the VAE's weights and products: half precision halves their memory (of 256 comparisons of the example, bfloat16 left 96 % of the pairs and the order of all); SDXL's own VAE overflows in float16",
  ),
  vaeSlicing: z
    .boolean()
    .default(false)
    .describe("images pass the VAE one at a time: less memory, the same pixels"),
  vaeTiling: z
    .boolean()
    .default(false)
    .describe(
      "images pass the VAE by tiles of the size that it was trained at: less memory, slightly other pixels",
    ),
};

/** For the schema of a recipe that is judged by a preference model. */
export const spmDtypeSettings = {
  spmDtype: frozenDtype.describe(
    "of the preference model's weights and products; its cosines are float32. bfloat16 halves its memory: of 256 comparisons of the example 90 % of the pairs stayed, 97 % of those with a gap above 0.3, and 99.6 % the right way round",
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
  baseDtype: z
    .enum(["int8"])
    .nullable()
    .default(null)
    .describe(
      "of the frozen weights under a LoRA; int8: linear maps and convolutions of the UNet's or transformer's blocks in 8 bits, with a scale a row, for a quarter of float32's memory and more time (of the example's base outputs were 0.4 % off and the LoRA's gradients 3 %, about as much as by bfloat16); null: as dtype",
    ),
  ...checkpointingSettings,
  ...vaeSettings,
  memoryFormat: z
    .enum(["contiguous", "channels_last"])
    .nullable()
    .default(null)
    .describe("order of convolution kernels and maps; null: channels_last on a CPU, where it is faster"),
};
