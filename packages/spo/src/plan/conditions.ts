import type { Conditions, GuidedConditions } from "@spo/diffusion";
import { type DType, noGrad, scope, type Tensor } from "@spo/torch";
import { blank, encodeWordless, type PlannedModels } from "./models.js";

/** Tokens of a prompt: as many as the text encoder has places for. */
const tokensOf = ({ texts }: PlannedModels): number => texts[0]?.config.max_position_embeddings ?? 77;

/** Token ids of n prompts for one of the text encoders. */
export const blankIds = (n: number, models: PlannedModels): Tensor =>
  blank([n, tokensOf(models)], models, "int64");

/** Token ids of n prompts for the text encoders of a latent reward model, which are of the pipeline's sizes. */
export const lrmIds = (n: number, models: PlannedModels): Tensor[] =>
  models.texts.map(() => blankIds(n, models));

/** Encodes n prompts. */
export const encodeBlank = (n: number, models: PlannedModels): void =>
  noGrad(() =>
    scope(() => {
      encodeWordless(models.pipe, n);
    }),
  );

/** What the denoiser is told of n prompts, of the right shapes. Vectors are float32, as text encoders give them. */
export function blankConditions(n: number, models: PlannedModels): Conditions {
  const { denoiser } = models;
  const shapes = Object.entries(models.conditionShapes);
  return Object.fromEntries(
    shapes.map(([name, shape]) => [
      name,
      blank([n, ...shape], models, shape.length > 1 ? denoiser.dtype : "float32"),
    ]),
  );
}

/** Encodes prompts of no words, as a policy does whose text encoders learn. size: of the latents. */
export const encodeAnew =
  ({ pipe }: PlannedModels, size: readonly [number, number]) =>
  (places: readonly number[]): GuidedConditions => {
    const [height, width] = size.map((side) => side * pipe.vae.factor) as [number, number];
    return pipe.encode(
      places.map(() => ""),
      { size: [height, width] },
    );
  };

/** Pixels of n images of a size that is given in latents. */
export const blankImages = (n: number, models: PlannedModels, size: readonly [number, number]): Tensor =>
  blank([n, 3, ...size.map((side) => side * models.vae.factor)], models);

/** Latents of n images. */
export const blankLatents = (
  n: number,
  models: PlannedModels,
  size: readonly [number, number] = models.latentSize,
  dtype: DType = "float32",
): Tensor => blank([n, ...models.denoiser.latentShape(size)], models, dtype);
