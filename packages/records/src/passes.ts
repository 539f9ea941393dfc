/** All kinds of passes of one sample through a network, in the order that tables have them. Guidance makes two UNet passes of one prediction. */
export const PASSES = [
  "unetSampling",
  "unetPolicy",
  "unetReference",
  "unetBackward",
  "vaeEncode",
  "vaeDecode",
  "judgeImage",
  "judgeText",
  "judgeBackward",
] as const;

/** One of `PASSES`. */
export type Pass = (typeof PASSES)[number];
