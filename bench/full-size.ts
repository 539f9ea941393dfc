// Models at their published sizes, with random weights: written once into the cache, then read by every benchmark.
import { existsSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import {
  type StoredModel,
  saveModel,
  stableDiffusion,
  stableDiffusionXL,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { type DType, Generator, initialize } from "@spo/torch";

/** The published configs. */
export const FULL_SIZE = { sd15: stableDiffusion.published, sdxl: stableDiffusionXL.published };

export type Family = keyof typeof FULL_SIZE;

/** Of the files. */
const DTYPES: Readonly<Record<Family, DType>> = { sd15: "float32", sdxl: "bfloat16" };

/** Folder of a family's UNet under `folder`: a link to the cache. */
export const unetFolder = (folder: string, family: Family): string => join(folder, `${family}-unet`);

/** Links the UNet of a family into `folder`: 3.4 GB for SD1.5 in float32, 5.1 GB for SDXL in bfloat16. */
export function linkUnet(folder: string, family: Family): void {
  linkModel(folder, `${family}-unet`, {
    make: () => new UNet2DConditionModel(FULL_SIZE[family].unet),
    dtype: DTYPES[family],
  });
}

/**
 * Links a model into `folder` by its name. The first time it is written, to `spo/bench` in XDG_CACHE_HOME or ~/.cache. Weights are
 * U(±1/√fanIn), which keeps the maps of every layer of a usable size.
 */
export function linkModel(
  folder: string,
  name: string,
  { make, dtype }: { make: () => StoredModel; dtype: DType },
): void {
  const { XDG_CACHE_HOME: base } = process.env;
  const cache = join(base && isAbsolute(base) ? base : join(homedir(), ".cache"), "spo", "bench");
  const kept = join(cache, `${name}-${dtype}`);
  if (!existsSync(kept)) {
    const unfinished = `${kept}.${process.pid}`;
    try {
      using model = make();
      initialize(model, new Generator(1), { dtype });
      saveModel(unfinished, model);
      renameSync(unfinished, kept);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }
  symlinkSync(kept, join(folder, name));
}
