// The LoRA that a policy trains: over the denoiser, and where it is asked for over the text encoders.
import {
  adapterOf,
  addFamilyLora,
  addLora,
  CLIPTextModel,
  disposeAdapter,
  type Lora,
  type LoraAdapter,
  type LoraWeights,
  readLora,
  type TextToImage,
  type WriteLoraOptions,
  writeLora,
} from "@spo/diffusion";
import { type Generator, noGrad, scope, type Tensor, UserError } from "@spo/torch";

/** Size and place of a policy's LoRA. */
export interface AdapterSettings {
  rank: number;
  /** null: the rank. */
  alpha: number | null;
  /** Ends of the names of the denoiser's layers; null: the family's. */
  targets: readonly string[] | null;
  /** Whether CLIP's text encoders get one too. */
  textEncoders: boolean;
}

/** The text encoders' layers that are adapted. Source: diffusers' training scripts, `text_lora_config`. */
const TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"];

/** A policy's LoRA. */
export class PolicyAdapter {
  readonly denoiser: Lora;
  /** By the part of the pipeline, `text_encoder`. */
  readonly texts: ReadonlyMap<string, Lora>;
  readonly #pipe: TextToImage;

  /**
   * Before the first update it changes nothing. generatorOf: of each part, the denoiser's with no name. Throws a UserError (`CONFIG`) for
   * targets that name no layer, and for text encoders where the model has none of CLIP.
   */
  constructor(
    pipe: TextToImage,
    { rank, alpha, targets, textEncoders }: AdapterSettings,
    generatorOf: (part?: string) => Generator,
  ) {
    this.#pipe = pipe;
    const size = { rank, alpha: alpha ?? rank };
    this.denoiser = addFamilyLora(pipe.denoiser, { ...size, targets: targets ?? undefined }, generatorOf());
    const encoders = Object.entries(pipe.models).filter(([, model]) => model instanceof CLIPTextModel);
    if (textEncoders && encoders.length === 0)
      throw new UserError(`${pipe.family.title} has no text encoder of CLIP that a LoRA could lie over.`, {
        code: "CONFIG",
        hint: "Leave textEncoders out.",
      });
    this.texts = new Map(
      (textEncoders ? encoders : []).map(([part, model]) => [
        part,
        addLora(model, { ...size, targets: TEXT_TARGETS }, generatorOf(part)),
      ]),
    );
  }

  /** The trainable weights; the text encoders' with their part in front. */
  namedParameters(): Map<string, Tensor> {
    const ofTexts = [...this.texts].flatMap(([part, lora]) =>
      [...lora.namedParameters()].map(([name, value]): [string, Tensor] => [`${part}.${name}`, value]),
    );
    return new Map([...this.denoiser.namedParameters(), ...ofTexts]);
  }

  /** Runs `fn` with the text encoders of the base. */
  withBaseTexts<T>(fn: () => T): T {
    return [...this.texts.values()].reduce((inner, lora) => () => lora.without(inner), fn)();
  }

  /**
   * Takes the values of a LoRA's file, whose strength stays what it is where its alpha is another. Throws UserErrors for a file
   * that is none of this model, and (`CONFIG`) for one over other layers or of another rank.
   */
  load(path: string): void {
    const { adapter } = readLora(path, this.#pipe.models);
    const mine = this.#values();
    const rankOf = ({ down }: LoraWeights): number => down.shape[0] as number;
    const ranks = new Set([...adapter.values()].map(rankOf));
    const isHere = [...adapter].every(([layer, weights]) => {
      const own = mine.get(layer);
      return own !== undefined && rankOf(own) === rankOf(weights);
    });
    if (!isHere || adapter.size !== mine.size)
      throw new UserError(
        `${path} is a LoRA over ${adapter.size} layers of rank ${[...ranks].join(", ")}, and this training's lies over ${mine.size} of rank ${[...mine.values()].map(rankOf)[0]}.`,
        { code: "CONFIG", hint: "Give its rank, targets and textEncoders." },
      );
    noGrad(() =>
      scope(() => {
        for (const [layer, { down, up, alpha }] of adapter) {
          const own = mine.get(layer) as LoraWeights;
          own.down.detach().copy_(down);
          own.up
            .detach()
            .copy_(alpha === own.alpha ? up : up.to({ dtype: "float32" }).mul(alpha / own.alpha));
        }
      }),
    );
    disposeAdapter(adapter);
  }

  #values(): LoraAdapter {
    return adapterOf({ [this.#pipe.family.denoiser]: this.denoiser, ...Object.fromEntries(this.texts) });
  }

  /** Writes it as one file. */
  save(path: string, options: WriteLoraOptions): void {
    writeLora(path, this.#values(), this.#pipe.models, options);
  }
}
