import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { readModelIndex } from "../layouts/model-index.js";
import { loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import { publishedTokenizer } from "../tokenizer/save-tokenizer.js";
import { FAMILIES } from "./families.js";
import type { LoadOptions, TextToImage } from "./family.js";
import { loadSingleFile } from "./load-single-file.js";

/** How `loadTextToImage` places a model and where it finds what one file lacks. */
export interface LoadTextToImageOptions extends LoadOptions {
  /** For one file whose sizes are not the published ones: a folder in diffusers layout, of which the configs and tokenizers are read. */
  configs?: string;
}

/**
 * Loads a model in whatever layout it has: a folder in diffusers layout, or one file in the original naming (.safetensors, .ckpt).
 *
 * The family is told from model_index.json or from the names in the file. Throws UserErrors for what is missing, damaged, or of a family
 * that is not supported.
 */
export function loadTextToImage(
  path: string,
  { configs, ...options }: LoadTextToImageOptions = {},
): TextToImage {
  if (existsSync(path) && statSync(path).isFile()) return fromSingleFile(path, configs, options);
  return readModelIndex(path, FAMILIES).family.load(path, options);
}

function fromSingleFile(path: string, configs: string | undefined, options: LoadOptions): TextToImage {
  const { family, models, scheduler: schedulerConfig } = loadSingleFile(path, { configs, ...options });
  return family.assemble({
    models,
    tokenizer: (part, padToken) => {
      const folder = configs === undefined ? undefined : join(configs, part);
      return folder !== undefined && existsSync(folder)
        ? loadTokenizer(folder)
        : publishedTokenizer({ padToken });
    },
    schedulerConfig,
    schedulerSource: {
      pipeline: family.pipelines[0],
      path: configs && join(configs, "scheduler", "scheduler_config.json"),
    },
  });
}
