/** All kinds of passes of one sample through a network, in the order of tables. With guidance one prediction is two UNet passes. */
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
