import type { TextToImage } from "@spo/diffusion";
import { UserError, warn } from "@spo/torch";

/** Saves a pipeline in half precision, or in float32 where a weight would overflow. Throws a UserError (`NUMERIC`) for NaN and infinity. */
export function saveInHalf(pipe: TextToImage, folder: string): void {
  try {
    pipe.save(folder, { dtype: "float16" });
  } catch (error) {
    if (!(error instanceof UserError && error.code === "NUMERIC")) throw error;
    pipe.save(folder, { dtype: "float32" }); // nothing was written; what is not finite in float32 either throws again
    warn(`${folder} is written in float32, twice the size: some of its weights are too large for float16.`);
  }
}
