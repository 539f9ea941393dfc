/** What passes are called where they are shown. */
export const PASS_NAMES: Record<string, string> = {
  unetSampling: "UNet, sampling",
  unetPolicy: "UNet, policy forward",
  unetReference: "UNet, reference forward",
  unetBackward: "UNet, backward",
  vaeEncode: "VAE, encode",
  vaeDecode: "VAE, decode",
  judgeImage: "judge, image",
  judgeText: "judge, text",
  judgeBackward: "judge, backward",
};
