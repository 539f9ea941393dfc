// The models that images are drawn with, one at a time in memory: the sides of a grid may name several.
import type { TextToImage } from "@spo/diffusion";
import { PromptLoras } from "./prompt-loras.js";

/** A model in memory, and what is laid over it. */
export interface ModelAtWork {
  pipe: TextToImage;
  loras: PromptLoras;
}

/** Loads a model when its turn comes, and frees the one before. */
export class ModelsInTurn {
  readonly #load: (path: string) => TextToImage;
  #now?: ModelAtWork & { path: string };

  constructor(load: (path: string) => TextToImage) {
    this.#load = load;
  }

  /** The model of a path. Throws as the load; the one before is then gone. */
  at(path: string): ModelAtWork {
    if (this.#now?.path === path) return this.#now;
    this.free();
    const pipe = this.#load(path);
    this.#now = { path, pipe, loras: new PromptLoras(pipe) };
    return this.#now;
  }

  /** Frees the model at work. */
  free(): void {
    for (const model of Object.values(this.#now?.pipe.models ?? {})) model.dispose();
    this.#now = undefined;
  }
}
