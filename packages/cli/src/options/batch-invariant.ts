// `--batch-invariant` of the commands that draw images.
import type { Device } from "@spo/torch";
import { Option } from "commander";

export interface BatchOptions {
  batch: number;
  batchInvariant: "on" | "off" | "auto";
}

export const batchInvariantOption = (): Option =>
  new Option(
    "--batch-invariant <when>",
    "compute each image by itself, whatever --batch says: its bits depend on no other image; auto: on a CPU",
  )
    .choices(["on", "off", "auto"])
    .default("auto");

/**
 * Number of images in one call of the models.
 *
 * Kernels sum in an order that depends on the number of rows, so only an image computed alone always has the same bits. On a CPU
 * that costs full-size models nothing; a GPU would stand idle.
 */
export function imagesAtOnce({ batch, batchInvariant }: BatchOptions, device: Device): number {
  const alone = batchInvariant === "on" || (batchInvariant === "auto" && device === "cpu");
  return alone ? 1 : batch;
}
