import { cat, type Device, type DType, Module, scope, type Tensor, tensor } from "@spo/torch";

/** What a preference model has read of prompts: tensors of one row a prompt. */
export type Texts = Readonly<Record<string, Tensor>>;

/** A sample at a noise level, as it can be looked at. */
export interface Sight {
  /** The sample itself: scaled latents [n, c, h, w]. */
  xt: Tensor;
  /** The clean image predicted of it, decoded: [n, 3, H, W] about [−1, 1]. */
  image(): Tensor;
}

/**
 * A step-aware preference model, of any kind: it scores samples at every noise level for their prompts. A folder states which kind it
 * holds. Source: Liang et al. 2024, section 3.2.
 */
export interface PreferenceModel {
  /** Its weights, text encoder and scale included. */
  readonly module: Module;
  /** What it looks at: clean images, as they are predicted of a sample, or the noisy latents themselves. */
  readonly sees: "predictions" | "latents";
  /** Of its weights. */
  readonly dtype: DType;
  readonly device: Device;
  /** What its scores of cosines are multiplied by; 1 of one whose scores are none. */
  readonly scale: number;
  /** Whether a backward pass computes the activations of its blocks anew, in place of keeping them. */
  gradientCheckpointing: boolean;
  /** The weights that its scores depend on: what a training changes. */
  parameters(): Tensor[];
  /** Reads prompts, with the graph. */
  encode(prompts: readonly string[]): Texts;
  /** The network's input of n samples to be judged, without augmentation. */
  look(sample: Sight): Tensor;
  /**
   * Scores with the graph, [n] of the weights' dtype; higher is better.
   *
   * input: as `look` gives it, n rows; timesteps: one for all, or int64 [n], in [0, 1000]; texts: row i belongs to sample i.
   */
  score(input: Tensor, timesteps: number | Tensor, texts: Texts): Tensor;
  /** Writes a folder that opens as the same kind. */
  save(folder: string): void;
}

/** A preference model whose score is its scale times the cosine of a sample's vector and its text's. */
export interface VectorModel extends PreferenceModel {
  /** Of its vectors. */
  readonly width: number;
  /** Unit vectors of n samples with the graph, [n, width]. Arguments as of `score`. */
  imageVectors(input: Tensor, timesteps: number | Tensor, texts: Texts): Tensor;
  /** Unit vectors of n texts with the graph, [n, width]. */
  textVectors(texts: Texts): Tensor;
  /** Sets what the cosines are multiplied by. */
  setScale(scale: number): void;
}

/** Whether a preference model compares vectors. */
export const comparesVectors = (model: PreferenceModel): model is VectorModel =>
  "imageVectors" in model && "textVectors" in model;

/** Converts a preference model's networks; the scale of its scores, a tensor of its own, stays float32. */
export function toDtype(module: Module, dtype: DType): void {
  for (const part of Object.values(module)) if (part instanceof Module) part.to({ dtype });
}

/** The given rows of what was read, in the given order; a row may come several times. */
export const textRows = (texts: Texts, rows: readonly number[]): Texts =>
  scope(() => {
    const [first] = Object.values(texts);
    const places = tensor([...rows], { dtype: "int64", device: first?.device });
    return mapTexts(texts, (text) => text.indexSelect(0, places));
  });

/** Rows of several readings, one below the other. */
export const joinTexts = (parts: readonly Texts[]): Texts =>
  mapTexts(parts[0] as Texts, (_, name) => cat(parts.map((part) => part[name] as Tensor)));

const mapTexts = (texts: Texts, of: (text: Tensor, name: string) => Tensor): Texts =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, of(text, name)]));
