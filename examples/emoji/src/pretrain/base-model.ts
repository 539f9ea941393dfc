import type { Conditions, NoiseProcess, TextToImage } from "@spo/diffusion";
import type { Generator, Module, Tensor } from "@spo/torch";

/** A small text-to-image model that is to be trained from scratch: what is particular about its family. */
export interface BaseModel {
  /** Text encoders and denoiser, which learn together. */
  readonly networks: Module;
  /** The model as it is used, of the same networks. */
  readonly pipe: TextToImage;
  readonly process: NoiseProcess;
  /** What the denoiser is told of captions, with a graph. ids: int64 [n, L] → n rows. */
  conditions(ids: Tensor): Conditions;
  /** n timesteps of one step of the training. */
  drawTimesteps(n: number, generator: Generator): number[];
  /** The loss of errors [b] at their timesteps. */
  weighted(errors: Tensor, timesteps: readonly number[]): Tensor;
  /** Copies the networks' values from a folder in diffusers layout. Throws a UserError where it is of another kind. */
  copyFrom(folder: string): void;
}
