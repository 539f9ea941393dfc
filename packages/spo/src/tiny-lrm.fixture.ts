// Latent reward models of both families, small enough to be made in each test.
import { CLIPTextModel, CLIPTextModelWithProjection, UNet2DConditionModel } from "@spo/diffusion";
import { Generator, initialize, noGrad } from "@spo/torch";
import { LatentRewardModel, type LatentRewardSettings, PUBLISHED_LRM } from "./spm/latent-reward-model.js";
import { TINY } from "./tiny-models.fixture.js";

/** vocab_size: of the text encoders; in_channels: of the latents. */
export function tinyLrm(
  family: "sd15" | "sdxl",
  {
    seed = 1,
    vocab_size = 50,
    in_channels = 4,
    ...settings
  }: Partial<LatentRewardSettings> & { seed?: number; vocab_size?: number; in_channels?: number } = {},
): LatentRewardModel {
  const { unet, text_encoder } = TINY[family];
  const second = { ...TINY.sdxl.text_encoder_2, vocab_size };
  const lrm = new LatentRewardModel({
    unet: new UNet2DConditionModel({ ...unet, in_channels }),
    textEncoder: new CLIPTextModel({ ...text_encoder, vocab_size }),
    textEncoder2: family === "sdxl" ? new CLIPTextModelWithProjection(second) : undefined,
    projectionDim: family === "sdxl" ? (second.projection_dim as number) : 6,
    settings: { ...PUBLISHED_LRM, ...settings },
    nativeSize: [16, 16],
  });
  const generator = new Generator(seed);
  initialize(lrm, generator);
  noGrad(() => {
    for (const [name, value] of lrm.namedParameters()) {
      if (/embedding\.weight|projection/.test(name)) value.normal_(0, 0.5, { generator });
      if (name === "logit_scale") value.fill_(2);
    }
  });
  return lrm;
}
