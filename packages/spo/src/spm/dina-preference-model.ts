import type { Conditions, FlowConditions, Lora } from "@spo/diffusion";
import { type Device, type DType, noGrad, scope, type Tensor } from "@spo/torch";
import type { DinaLrm } from "./dina-lrm.js";
import { saveDinaLrm } from "./dina-lrm-files.js";
import type { PreferenceModel, Sight, Texts } from "./preference-model.js";

/** The kind that looks at noisy latents of Stable Diffusion 3.5 by the model's own first blocks. */
export class DinaPreferenceModel implements PreferenceModel {
  readonly module: DinaLrm;
  readonly sees = "latents";
  /** Its scores are no cosines. */
  readonly scale = 1;
  readonly #lora: Lora;
  readonly #encode: (prompts: readonly string[]) => Conditions;

  /** encode: prompts → what the model whose latents are judged is told of them. Its text encoders are not this model's own. */
  constructor(
    { module, lora }: { module: DinaLrm; lora: Lora },
    encode: (prompts: readonly string[]) => Conditions,
  ) {
    this.module = module;
    this.#lora = lora;
    this.#encode = encode;
  }

  get dtype(): DType {
    return this.module.backbone.context_embedder.weight.dtype;
  }

  get device(): Device {
    return this.module.backbone.context_embedder.weight.device;
  }

  get gradientCheckpointing(): boolean {
    return this.module.backbone.gradientCheckpointing;
  }

  set gradientCheckpointing(on: boolean) {
    this.module.backbone.gradientCheckpointing = on;
  }

  /** The adapter and the head: the blocks under it are the diffusion model's. */
  parameters(): Tensor[] {
    return [...this.#lora.parameters(), ...this.module.reward_head.parameters()];
  }

  encode(prompts: readonly string[]): Texts {
    return noGrad(() => this.#encode(prompts));
  }

  look({ xt }: Sight): Tensor {
    const { dtype, device } = this;
    return xt.to({ dtype, device });
  }

  /** The times may lie between whole numbers: they are 1000·σ. */
  score(input: Tensor, timesteps: number | Tensor, texts: Texts): Tensor {
    return scope(() => {
      const { dtype } = this;
      const { context, pooled } = texts as { context: Tensor; pooled: Tensor };
      const told: FlowConditions = { context: context.to({ dtype }), pooled: pooled.to({ dtype }) };
      return this.module.forward(input.to({ dtype }), timesteps, told);
    });
  }

  save(folder: string): void {
    saveDinaLrm(folder, { module: this.module, lora: this.#lora });
  }
}
