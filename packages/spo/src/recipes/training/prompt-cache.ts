// Encodings of prompts on disk, so that text encoders work once for all trainings, and take no memory while one runs.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { type Conditions, joinRows, splitRows, type TextToImage } from "@spo/diffusion";
import { type Device, noGrad, openSafetensors, scope, trimMemory, writeSafetensors } from "@spo/torch";
import { inTurn, textEncodersOf } from "./encoders-in-turn.js";

/** What an encoding depends on beside the prompt. */
export interface CachedTexts {
  pipe: TextToImage;
  /** What the model was loaded from. */
  model: string;
  /** Where one file's tokenizers come from. */
  configs?: string | null;
  /** Height and width of the images in pixels. */
  size: readonly [number, number];
  /** As for `encode`. Default: what it gives without. */
  negativePrompt?: string;
  /** Further files that decide on the encodings: parts of the model, and adapters with their strengths. */
  files?: readonly (readonly [path: string, strength: number])[];
}

/** The encodings of prompts in a folder: one file a prompt, named by all that it depends on. */
export class PromptCache {
  readonly #folder: string;
  readonly #texts: CachedTexts;
  readonly #key: string;

  constructor(folder: string, texts: CachedTexts) {
    this.#folder = folder;
    this.#texts = texts;
    const { pipe, model, configs, size, negativePrompt, files = [] } = texts;
    const sources = [model, ...(configs ? [configs] : [])].map(textFiles);
    const further = files.map(([path, strength]) => [textFiles(path), strength]);
    const more = further.length > 0 || negativePrompt !== undefined ? [further, negativePrompt ?? null] : [];
    this.#key = JSON.stringify([pipe.family.name, sources, size, ...more]);
  }

  /** Encodes those prompts that are not there yet, a few at a time. */
  fill(prompts: readonly string[]): void {
    mkdirSync(this.#folder, { recursive: true });
    const missing = [...new Set(prompts)].filter((prompt) => !existsSync(this.#file(prompt)));
    for (let start = 0; start < missing.length; start += AT_ONCE) {
      const some = missing.slice(start, start + AT_ONCE);
      this.#write(
        some.map((prompt) => this.#file(prompt)),
        () => this.#encode(some).conditional,
      );
    }
    const away = this.#file(null);
    if (!existsSync(away)) this.#write([away], () => this.#encode([""]).unconditional);
  }

  /** A row for each prompt, in their order, on the denoiser's device; prompt null: the unconditional one. They must be there. */
  read(prompts: readonly (string | null)[]): Conditions {
    const { device } = this.#texts.pipe.denoiser;
    return scope(() => joinRows(prompts.map((prompt) => readRow(this.#file(prompt), device))));
  }

  #encode(prompts: readonly string[]) {
    const { pipe, size, negativePrompt } = this.#texts;
    return pipe.encode(prompts, { size, negativePrompt });
  }

  #write(files: readonly string[], encode: () => Conditions): void {
    noGrad(() =>
      scope(() => {
        for (const [i, row] of splitRows(encode()).entries())
          writeSafetensors(files[i] as string, new Map(Object.entries(row)));
      }),
    );
  }

  #file(prompt: string | null): string {
    const name = createHash("sha256")
      .update(JSON.stringify([this.#key, prompt]))
      .digest("hex");
    return join(this.#folder, `${name}.safetensors`);
  }
}

/**
 * Encodes prompts before anything but a text encoder is on the device, frees all of these, and puts the rest there. The whole pipeline
 * must be on the CPU.
 */
export function encodeFirst(
  pipe: TextToImage,
  { texts, device }: { texts: readonly { cache: PromptCache; prompts: readonly string[] }[]; device: Device },
): void {
  const { denoiser, vae } = pipe;
  const encoders = textEncodersOf(pipe);
  const moves = denoiser.device !== device;
  const fill = (): void => {
    for (const { cache, prompts } of texts) cache.fill(prompts);
  };
  if (moves) inTurn(encoders, device, fill);
  else fill();
  for (const encoder of encoders) encoder.dispose();
  trimMemory(); // what encoding has freed
  if (moves) for (const model of [denoiser, vae]) model.to({ device }).arrange_("contiguous"); // as loading leaves them there
}

/** Prompts that are encoded at a time. */
export const AT_ONCE = 32;

function readRow(path: string, device: string): Conditions {
  using file = openSafetensors(path);
  return Object.fromEntries([...file.tensors()].map(([name, value]) => [name, value.to({ device }).clone()]));
}

/** Name, size and time of change of the files that decide on the encodings: of a folder text encoders and tokenizers, or the one file. */
function textFiles(path: string): unknown {
  const root = realpathSync(path);
  const stamp = (file: string): unknown[] => {
    const { size, mtimeMs } = statSync(file);
    return [relative(root, file), size, mtimeMs];
  };
  if (statSync(root).isFile()) return stamp(root);
  const folders = readdirSync(root)
    .filter((name) => /^(text_encoder|tokenizer)/.test(name))
    .sort();
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder))
      .sort()
      .map((name) => stamp(join(root, folder, name))),
  );
}
