// How a training computes: dtype, loss scale, checkpointing, memory format.
import type { AutoencoderKL, DenoiserModel } from "@spo/diffusion";
import { autocast, clipGradNorm, LossScaler, type Module, type Tensor } from "@spo/torch";

/** How images pass through the VAE of a training. */
export interface VaeSettings {
  vaeDtype: "float32" | "bfloat16" | "float16";
  vaeSlicing: boolean;
  vaeTiling: boolean;
}

/** Sets a VAE up as the settings say. */
export function setUpVae(vae: AutoencoderKL, { vaeDtype, vaeSlicing, vaeTiling }: VaeSettings): void {
  if (vae.dtype !== vaeDtype) vae.to({ dtype: vaeDtype });
  vae.slicing = vaeSlicing;
  vae.tiling = vaeTiling;
}

export interface PrecisionSettings {
  dtype: "float32" | "bfloat16" | "float16";
  /** Of frozen weights in the blocks, where it is not `dtype`; default null. */
  baseDtype?: "int8" | null;
  gradientCheckpointing: boolean;
  memoryFormat: "contiguous" | "channels_last" | null;
}

/** What the denoiser's weights are loaded as: where they learn they stay float32, and only their products are in half precision. */
export const weightsDtype = ({
  dtype,
  adapter,
}: Pick<PrecisionSettings, "dtype"> & { adapter: "lora" | "full" }) =>
  adapter === "lora" ? dtype : "float32";

/**
 * Mixed precision as PyTorch's `accelerate` has it: autocast around the denoiser, the loss and what learns in float32; float16 scales the
 * loss, and an update whose gradients overflow is left out. Source: Micikevicius et al. 2018.
 */
export class Precision {
  readonly #dtype: PrecisionSettings["dtype"];
  readonly #baseDtype: "int8" | null;
  readonly #device: string;
  readonly #memoryFormat: PrecisionSettings["memoryFormat"];
  /** Of float16. To be saved with the optimizer. */
  readonly scaler: LossScaler | undefined;

  /** Arranges the models as the settings say. */
  constructor(
    { dtype, baseDtype = null, gradientCheckpointing, memoryFormat }: PrecisionSettings,
    { denoiser, vae }: { denoiser: DenoiserModel; vae: Module },
  ) {
    this.#dtype = dtype;
    this.#baseDtype = baseDtype;
    this.#memoryFormat = memoryFormat;
    const { device } = denoiser;
    this.#device = device === "meta" ? "cpu" : device; // a rehearsal; without autocast, whose casts it does not see
    this.scaler = dtype === "float16" ? new LossScaler() : undefined;
    denoiser.gradientCheckpointing = gradientCheckpointing;
    if (memoryFormat) for (const model of [denoiser, vae]) model.arrange_(memoryFormat);
  }

  /** Whether an adapter may be added into the weights for sampling: half precision and 8 bits would lose its bits. */
  get merges(): boolean {
    return this.#dtype === "float32" && this.#baseDtype === null;
  }

  /** Converts a model that does not learn. */
  freeze(model: Module): void {
    model.to({ dtype: this.#dtype });
    if (this.#memoryFormat) model.arrange_(this.#memoryFormat);
  }

  /** Calls the denoiser. */
  around(call: () => Tensor): Tensor {
    return this.#dtype === "float32" ? call() : autocast({ device: this.#device, dtype: this.#dtype }, call);
  }

  /** The loss that backward starts from. */
  scale(loss: Tensor): Tensor {
    return this.scaler?.scale(loss) ?? loss;
  }

  /** `clipGradNorm` of the gradients without their scale. */
  clipGradNorm(parameters: readonly Tensor[], maxNorm: number): number {
    this.scaler?.unscale(parameters);
    return clipGradNorm(parameters, maxNorm);
  }

  /** After the update or in its place. Gives its figures for the step's event. */
  finish(loss: number, gradNorm: number): { lossScale?: number; overflow?: number } {
    if (!this.scaler) return {};
    const figures = { lossScale: this.scaler.value, overflow: Number(this.overflowed(loss, gradNorm)) };
    this.scaler.update();
    return figures;
  }

  /** Whether gradients are not finite because of the scale, which is then lowered for the next update. */
  overflowed(loss: number, gradNorm: number): boolean {
    return (
      this.scaler !== undefined &&
      this.scaler.value > 1 &&
      Number.isFinite(loss) &&
      !Number.isFinite(gradNorm)
    );
  }
}
