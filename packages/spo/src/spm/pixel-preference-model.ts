import { type ScoreProcessor, scorePixels } from "@spo/scorers";
import { type Device, type DType, scope, type Tensor } from "@spo/torch";
import type { PreferenceModel, Sight, Texts } from "./preference-model.js";
import { type StepAwarePreferenceModel, saveSpm } from "./spm.js";

/** The published kind: CLIP with time conditioning, which looks at decoded predictions. */
export class PixelPreferenceModel implements PreferenceModel {
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

  /** A number is rounded: a flow's times lie between whole ones. */
  score(input: Tensor, timesteps: number | Tensor, { features }: Texts): Tensor {
    const t = typeof timesteps === "number" ? Math.round(timesteps) : timesteps;
    return this.module.scores(
      this.module.imageFeatures(input.to({ dtype: this.dtype }), t),
      features as Tensor,
    );
  }

  save(folder: string): void {
    saveSpm(folder, this.module, this.processor);
  }
}
