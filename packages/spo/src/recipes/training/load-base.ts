import { loadTextToImage, quantizeBlocks, type TextToImage } from "@spo/diffusion";
import { type Device, UserError } from "@spo/torch";
import { type PrecisionSettings, weightsDtype } from "./precision.js";

/** Settings of the model that a training begins with. */
export interface BaseSettings extends Pick<PrecisionSettings, "dtype" | "baseDtype"> {
  model: string;
  configs: string | null;
  adapter: "lora" | "full";
  promptCache: string | null;
}

/**
 * Loads the model of a training, its denoiser in the dtype that the settings say.
 *
 * With a prompt cache all of it is on the CPU, for `encodeFirst`. Weights in 8 bits come onto the device as such.
 * Throws UserErrors as `loadTextToImage`, and (`CONFIG`) for 8 bits of weights that learn.
 */
export function loadBase(settings: BaseSettings, device: Device): TextToImage {
  requireFrozenBase(settings);
  const { model, configs, promptCache } = settings;
  const quantizes = settings.baseDtype === "int8";
  const pipe = loadTextToImage(model, {
    configs: configs ?? undefined,
    device: promptCache === null && !quantizes ? device : "cpu",
    dtype: weightsDtype(settings),
  });
  if (!quantizes) return pipe;
  quantizeBlocks(pipe.denoiser);
  if (promptCache === null && device !== "cpu")
    for (const part of Object.values(pipe.models)) part.to({ device }).arrange_("contiguous"); // as loading leaves them there
  return pipe;
}

/** Throws a UserError (`CONFIG`) where weights are to be in 8 bits that learn. */
export function requireFrozenBase({ adapter, baseDtype }: Pick<BaseSettings, "adapter" | "baseDtype">): void {
  if (baseDtype !== "int8" || adapter === "lora") return;
  throw new UserError("baseDtype int8 is of frozen weights, and adapter full trains them.", {
    code: "CONFIG",
    hint: "Leave baseDtype out, or set adapter to lora.",
  });
}
