import type { TextToImage } from "@spo/diffusion";
import { LatentPreferenceModel } from "../../spm/latent-preference-model.js";
import { PixelPreferenceModel } from "../../spm/pixel-preference-model.js";
import type { PreferenceModel } from "../../spm/preference-model.js";
import { LatentPairNoiser, type LatentPairSettings } from "./latent-pair-noiser.js";
import type { PairNoiser } from "./noised-pairs.js";
import { PixelPairNoiser, type PixelPairSettings } from "./pixel-pair-noiser.js";

/** How pairs are noised for a kind of preference model. side: of the images, pixels. */
export function pairNoiser(
  pipe: TextToImage,
  model: PreferenceModel,
  settings: PixelPairSettings & LatentPairSettings,
): PairNoiser {
  if (model instanceof PixelPreferenceModel) return new PixelPairNoiser(pipe, model, settings);
  if (model instanceof LatentPreferenceModel) return new LatentPairNoiser(pipe, model, settings);
  throw new Error(`pairNoiser: no way to noise pairs for a ${model.constructor.name}`);
}
