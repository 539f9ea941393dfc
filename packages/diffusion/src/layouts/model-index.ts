import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig, MOST, readJsonObject } from "../config.js";
import { type Misfit, refuseMisfits } from "./misfits.js";

/** Library and class of a part; nulls for one that the pipeline goes without. */
const Part = z.tuple([z.string().nullable(), z.string().nullable()]);

const ModelIndex = z.looseObject({
  _class_name: z.string().optional(),
  scheduler: Part.optional(),
  /** SDXL: no negative prompt means zeros, not the encoding of the empty text. */
  force_zeros_for_empty_prompt: z.boolean().nullish(),
  /** SD3: tokens of T5's states, as diffusers' pipeline takes them with a prompt. A name of ours here; diffusers passes it over. */
  max_sequence_length: z.int().min(0).max(MOST.width).optional(),
});
export type ModelIndex = z.output<typeof ModelIndex>;

/** What a family has in its folder: pipelines of the same models, its own first, and the classes that each part may have. */
interface IndexedFamily {
  readonly pipelines: readonly [string, ...string[]];
  readonly parts: Readonly<
    Record<string, { readonly classes: readonly string[]; readonly optional?: boolean }>
  >;
  readonly tokenizers: Readonly<Record<string, readonly string[]>>;
  readonly optionalTokenizers?: readonly string[];
}

/** Other pipelines that people have, and why they are refused. */
const OTHERS: readonly [RegExp, string][] = [
  [
    /XLImg2Img/,
    "The SDXL refiner goes on with an image and is told an aesthetic score: sample from the SDXL base.",
  ],
  [/InstructPix2Pix/, "It edits an image that it is given: take a checkpoint that draws from a text alone."],
  [
    /Inpaint/,
    "It fills a mask in an image that it is given: take a checkpoint that draws from a text alone.",
  ],
  [
    /Img2Img|Upscale|Depth2Img|ControlNet|Adapter/,
    "It starts from an image: take a checkpoint that draws from a text alone.",
  ],
];

/**
 * Reads model_index.json of a pipeline's folder. `family` is the one of those given whose it is, `pipeline` what the file says.
 *
 * Throws a UserError (`DATA`) unless it names one of the given families and only parts that are supported.
 */
export function readModelIndex<F extends IndexedFamily>(
  folder: string,
  families: readonly F[],
): ModelIndex & { family: F; pipeline: string } {
  if (!existsSync(folder)) {
    throw new UserError(`There is no model folder ${folder}.`, {
      code: "DATA",
      hint: "Give a folder in diffusers layout, or a checkpoint in one file.",
    });
  }
  const path = join(folder, "model_index.json");
  if (!existsSync(path)) {
    throw new UserError(`${folder} is no pipeline in diffusers layout: it has no model_index.json.`, {
      code: "DATA",
      hint: "Give the folder that holds unet/ or transformer/, vae/ and text_encoder/ with their model_index.json, or a checkpoint in one file.",
    });
  }
  const found = readJsonObject(path);
  const index = checkConfig(ModelIndex, found, path);
  const pipeline = index._class_name ?? "model without _class_name";
  const family = families.find(({ pipelines }) => pipelines.includes(pipeline));
  if (!family) {
    const supported = families.map(({ pipelines: [own] }) => own).join(", ");
    throw new UserError(`${folder} is a ${pipeline}; supported here: ${supported}.`, {
      code: "DATA",
      hint: OTHERS.find(([pattern]) => pattern.test(pipeline))?.[1],
    });
  }
  const classes = Object.entries(family.parts).map(([part, { classes }]) => [part, classes] as const);
  classes.push(...Object.entries(family.tokenizers));
  const Parts = z.looseObject(Object.fromEntries(classes.map(([part]) => [part, Part.optional()])));
  const named = checkConfig(Parts, found, path);
  const faults: Misfit[] = [];
  for (const [part, supported] of classes) {
    const [, name] = named[part] ?? [];
    const isOptional = family.parts[part]?.optional || family.optionalTokenizers?.includes(part);
    if (name === null && isOptional) continue;
    if (name === null) faults.push([part, "is left out, and is needed to draw from a text"]);
    else if (name !== undefined && !supported.includes(name))
      faults.push([part, `is a ${name}; supported here: ${supported.join(", ")}`]);
  }
  refuseMisfits(
    `${path} names parts that are not here`,
    faults,
    "Give a checkpoint that draws from a text alone.",
  );
  return { ...index, family, pipeline };
}
