import { type ScoreProcessor, scorePixels, unit } from "@spo/scorers";
import { type Device, type DType, noGrad, scope, type Tensor } from "@spo/torch";
import type { Sight, Texts, VectorModel } from "./preference-model.js";
import { type StepAwarePreferenceModel, saveSpm } from "./spm.js";

/** The published kind: CLIP with time conditioning, which looks at decoded predictions. */
export class PixelPreferenceModel implements VectorModel {
  readonly module: StepAwarePreferenceModel;
  readonly sees = "predictions";
  readonly processor: ScoreProcessor;
  readonly #tokenize: (prompts: readonly string[]) => Tensor;

  /** tokenize: prompts → ids int64 [n, L]. */
  constructor(
    module: StepAwarePreferenceModel,
    processor: ScoreProcessor,
    tokenize: (prompts: readonly string[]) => Tensor,
  ) {
    this.module = module;
    this.processor = processor;
    this.#tokenize = tokenize;
  }

  get dtype(): DType {
    return this.module.visual_projection.weight.dtype;
  }

  get device(): Device {
    return this.module.visual_projection.weight.device;
  }

  get scale(): number {
    return scope(() => this.module.logit_scale.exp().item());
  }

  get gradientCheckpointing(): boolean {
    return this.module.vision_model.gradientCheckpointing;
  }

  set gradientCheckpointing(on: boolean) {
    this.module.vision_model.gradientCheckpointing = on;
  }

  parameters(): Tensor[] {
    return this.module.parameters();
  }

  encode(prompts: readonly string[]): Texts {
    return { features: this.module.textFeatures(this.#tokenize(prompts)) };
  }

  look({ image }: Sight): Tensor {
    const { dtype, device } = this;
    return scorePixels(image(), this.processor).to({ dtype, device });
  }

  score(input: Tensor, timesteps: number | Tensor, { features }: Texts): Tensor {
    return this.module.scores(this.#features(input, timesteps), features as Tensor);
  }

  get width(): number {
    return this.module.visual_projection.weight.shape[0] as number;
  }

  imageVectors(input: Tensor, timesteps: number | Tensor): Tensor {
    return unit(this.#features(input, timesteps));
  }

  textVectors({ features }: Texts): Tensor {
    return unit(features as Tensor);
  }

  setScale(scale: number): void {
    noGrad(() => this.module.logit_scale.fill_(Math.log(scale)));
  }

  save(folder: string): void {
    saveSpm(folder, this.module, this.processor);
  }

  /** A number is rounded: a flow's times lie between whole ones. */
  #features(input: Tensor, timesteps: number | Tensor): Tensor {
    const t = typeof timesteps === "number" ? Math.round(timesteps) : timesteps;
    return this.module.imageFeatures(input.to({ dtype: this.dtype }), t);
  }
}
