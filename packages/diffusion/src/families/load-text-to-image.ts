import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch";
import { readModelIndex } from "../layouts/model-index.js";
import { loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import { publishedTokenizer } from "../tokenizer/save-tokenizer.js";
import { loadT5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import { FAMILIES } from "./families.js";
import type { LoadOptions, TextToImage } from "./family.js";
import { loadSingleFile } from "./load-single-file.js";

/** How `loadTextToImage` places a model and where it finds what one file lacks. */
export interface LoadTextToImageOptions extends LoadOptions {
  /**
   * For one file whose sizes are not the published ones, or that lacks models: a folder in diffusers layout, of which the configs and
   * tokenizers are read, and the models that the file lacks.
   */
  configs?: string;
  /** For one file that lacks models: a file or folder for each, by the names of their folders in diffusers layout. */
  parts?: Readonly<Record<string, string>>;
}

/**
 * Loads a model in whatever layout it has: a folder in diffusers layout, or one file in the original naming (.safetensors, .ckpt).
 *
 * The family is told from model_index.json or from the names in the file. Throws UserErrors for what is missing, damaged, or of a family
 * that is not supported, and for `parts` of a folder (`USAGE`).
 */
export function loadTextToImage(
  path: string,
  { configs, parts, ...options }: LoadTextToImageOptions = {},
): TextToImage {
  if (existsSync(path) && statSync(path).isFile()) return fromSingleFile(path, { configs, parts }, options);
  const [part] = Object.keys(parts ?? {});
  if (part !== undefined)
    throw new UserError(
      `${path} is a folder, which has its own models: no other ${part} can be given for it.`,
      {
        code: "USAGE",
        hint: `Parts are for a model in one file. Put the other ${part} into a copy of the folder, in diffusers layout.`,
      },
    );
  return readModelIndex(path, FAMILIES).family.load(path, options);
}

function fromSingleFile(
  path: string,
  { configs, parts }: Pick<LoadTextToImageOptions, "configs" | "parts">,
  options: LoadOptions,
): TextToImage {
  const { family, models, scheduler: schedulerConfig } = loadSingleFile(path, { configs, parts, ...options });
  return family.assemble({
    models,
    tokenizer: (part, padToken) => {
      const folder = configs === undefined ? undefined : join(configs, part);
      return folder !== undefined && existsSync(folder)
        ? loadTokenizer(folder)
        : publishedTokenizer({ padToken });
    },
    t5Tokenizer: (part) => {
      const folder = configs === undefined ? undefined : join(configs, part);
      if (folder !== undefined && existsSync(folder)) return loadT5Tokenizer(folder);
      throw new UserError(`${path} comes without its T5 tokenizer, ${part}.`, {
        code: "DATA",
        hint: `Give a pipeline's folder that has ${part}/ with tokenizer.json or spiece.model (--configs FOLDER).`,
      });
    },
    schedulerConfig,
    schedulerSource: {
      pipeline: family.pipelines[0],
      path: configs && join(configs, "scheduler", "scheduler_config.json"),
    },
  });
}
