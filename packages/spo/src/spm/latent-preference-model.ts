import { unit } from "@spo/scorers";
import { type Device, type DType, noGrad, scope, type Tensor } from "@spo/torch";
import type { LatentRewardModel, LatentTexts } from "./latent-reward-model.js";
import type { LatentSpace } from "./latent-space.js";
import { saveLrm } from "./lrm-files.js";
import type { Sight, Texts, VectorModel } from "./preference-model.js";

/** The kind that looks at noisy latents: nothing is predicted or decoded for it. */
export class LatentPreferenceModel implements VectorModel {
  readonly module: LatentRewardModel;
  readonly sees = "latents";
  readonly space: LatentSpace;
  readonly #tokenize: (prompts: readonly string[]) => readonly Tensor[];

  /** tokenize: prompts → ids by each tokenizer, int64 [n, L]; space: of the latents that it was trained on. */
  constructor(
    module: LatentRewardModel,
    tokenize: (prompts: readonly string[]) => readonly Tensor[],
    space: LatentSpace,
  ) {
    this.module = module;
    this.space = space;
    this.#tokenize = tokenize;
  }

  get dtype(): DType {
    return this.module.unet.dtype;
  }

  get device(): Device {
    return this.module.unet.device;
  }

  get scale(): number {
    return scope(() => this.module.logit_scale.exp().item());
  }

  get gradientCheckpointing(): boolean {
    return this.module.unet.gradientCheckpointing;
  }

  set gradientCheckpointing(on: boolean) {
    this.module.unet.gradientCheckpointing = on;
  }

  parameters(): Tensor[] {
    return [...this.module.usedParameters().values()];
  }

  encode(prompts: readonly string[]): LatentTexts {
    return this.module.encode(this.#tokenize(prompts));
  }

  look({ xt }: Sight): Tensor {
    const { dtype, device } = this;
    return xt.to({ dtype, device });
  }

  score(input: Tensor, timesteps: number | Tensor, texts: Texts): Tensor {
    return scope(() =>
      this.module.scores(this.#features(input, timesteps, texts), (texts as LatentTexts).features),
    );
  }

  get width(): number {
    return this.module.visual_projection.weight.shape[0] as number;
  }

  imageVectors(input: Tensor, timesteps: number | Tensor, texts: Texts): Tensor {
    return scope(() => unit(this.#features(input, timesteps, texts)));
  }

  textVectors({ features }: Texts): Tensor {
    return unit(features as Tensor);
  }

  setScale(scale: number): void {
    noGrad(() => this.module.logit_scale.fill_(Math.log(scale)));
  }

  /** The empty text is encoded in each call, once for all rows: while the model learns, its states change too. */
  #features(input: Tensor, timesteps: number | Tensor, texts: Texts): Tensor {
    const { context, features } = texts as LatentTexts;
    const away = this.module.isEnhanced ? this.encode([""]) : undefined;
    return this.module.imageFeatures(input.to({ dtype: this.dtype }), timesteps, { context, features }, away);
  }

  save(folder: string): void {
    saveLrm(folder, this.module, { space: this.space });
  }
}
