// The options for decoding latents, and their meaning for an image.
import { type Command, Option } from "commander";

export interface VaeOptions {
  vaeTiling: "on" | "off" | "auto";
  vaeSlicing?: boolean;
}

export const vaeOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        "--vae-tiling <when>",
        "decode by overlapping tiles: bounded memory, slightly other pixels; auto: beyond 1024×1024",
      )
        .choices(["on", "off", "auto"])
        .default("auto"),
    )
    .option(
      "--vae-slicing",
      "decode images that share a batch one at a time: less memory; always so beyond 1024×1024",
    );

/** Pixels of the largest image that is decoded whole and beside others unless asked: 1024 squared takes some 7 GB in float32. */
const MOST_WHOLE = 1024 * 1024;

/** For `AutoencoderKL.decodeLatents`. width, height: of the image, pixels. */
export function decodeOptions(
  { vaeTiling, vaeSlicing }: VaeOptions,
  width: number,
  height: number,
): { chunk?: number; tiling: boolean } {
  const large = width * height > MOST_WHOLE;
  return {
    chunk: vaeSlicing || large ? 1 : undefined,
    tiling: vaeTiling === "on" || (vaeTiling === "auto" && large),
  };
}
