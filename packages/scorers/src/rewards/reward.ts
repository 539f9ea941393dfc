/** An image as bytes: RGB, height·width·3, row by row. */
export interface RgbImage {
  data: Uint8Array;
  width: number;
  height: number;
}

/**
 * Scores finished images. It gets no noise level and no timestep.
 *
 * It does its own preprocessing: images come as in their files, and may differ in size.
 */
export interface Reward {
  /** What it is called in tables: `pickscore`. */
  readonly name: string;
  /** One score an image, higher is better. prompts[i]: what images[i] should show. A promise where another program is asked. */
  score(images: readonly RgbImage[], prompts: readonly string[]): number[] | Promise<number[]>;
  /** What it sees in the images, [n][d], of length 1: a space for distances between images. */
  features?(images: readonly RgbImage[]): number[][] | Promise<number[][]>;
  /** Frees what it holds. */
  dispose?(): void;
}
