// What the checks of the method read from a folder of golden values beside tensors.
import { join } from "node:path";
import {
  type Conditions,
  type Denoiser,
  type DenoiserModel,
  type GoldenFamily,
  guidedDenoiser,
  readJsonObject,
  type SchedulerConfig,
  type UNetConditions,
  VpSchedule,
} from "@spo/diffusion";
import type { SafetensorsFile, Tensor } from "@spo/torch";

/** The noise process of a family. */
export const processOf = (folder: string, family: GoldenFamily): VpSchedule =>
  new VpSchedule(
    readJsonObject(join(folder, `tiny-${family}`, "scheduler", "scheduler_config.json")) as SchedulerConfig,
  );

/** Which rows of conditions a file holds, and SDXL's further ones where it has them. */
export const conditionsOf = (
  file: SafetensorsFile,
  context: string,
  pooled: string,
): UNetConditions & Conditions => ({
  context: file.get(context),
  ...(file.has(pooled) && { textEmbeds: file.get(pooled), timeIds: file.get("time_ids") }),
});

/** The guided denoiser of a file's prompts. */
export const denoiserOf = (
  model: DenoiserModel,
  file: SafetensorsFile,
  guidanceScale: number,
  around?: (call: () => Tensor) => Tensor,
): Denoiser =>
  guidedDenoiser({
    model,
    conditional: conditionsOf(file, "prompt_embeds", "pooled"),
    unconditional: conditionsOf(file, "negative_prompt_embeds", "negative_pooled"),
    guidanceScale,
    around,
  });

/** What follows on `prefix` in the names of a file's tensors. */
export const namesUnder = (file: SafetensorsFile, prefix: string): string[] =>
  file.keys().flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length)] : []));
