import { LoraStack, type TextToImage } from "@spo/diffusion";

interface LaidLora {
  file: string;
  weight: number;
  textWeight?: number;
}

/** LoRAs that prompts call for. They stay on a pipeline's models while neighbouring prompts call for the same ones. */
export class PromptLoras {
  readonly #pipe: TextToImage;
  #stack?: LoraStack;
  #key = "[]";

  constructor(pipe: TextToImage) {
    this.#pipe = pipe;
  }

  /** Runs `fn` with these merged into the weights, and puts the weights back. Throws a UserError for the first that does not fit. */
  merged<T>(loras: readonly LaidLora[], fn: () => T): T {
    const key = JSON.stringify(loras);
    if (key !== this.#key) {
      this.#stack?.remove();
      this.#stack = undefined;
      this.#key = "[]";
      if (loras.length > 0)
        this.#stack = new LoraStack(
          this.#pipe.models,
          loras.map(({ file: path, ...weights }) => ({ path, ...weights })),
        );
      this.#key = key;
    }
    return this.#stack ? this.#stack.merged(fn) : fn();
  }
}
