// Golden outputs of the flow families' transformers.
import { join } from "node:path";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { readJsonObject } from "../config.js";
import { loadTransformer } from "../layouts/model-folder.js";
import type { FlowConditions } from "../models/flow-conditions.js";
import { FluxTransformer2DModel } from "../models/flux-transformer-2d.js";
import { packLatents } from "../models/patches.js";
import { imageIds } from "../models/rotary-embedding.js";
import { SD3Transformer2DModel } from "../models/sd3-transformer-2d.js";
import { type Case, type Cases, type Check, collectCases, largest, openGolden } from "./verify-check.js";

/** A transformer of a flow family. */
export type FlowTransformer = SD3Transformer2DModel | FluxTransformer2DModel;

const TOLERANCE = 2e-5;

/** The checks of the transformers: outputs, one time a row, another size, and every value between the layers. */
export const transformerChecks: readonly Check[] = ["sd3", "sd35", "flux"].map((family): Check => {
  const expected = `expected-${family}.safetensors`;
  return {
    name: `transformer, ${family}`,
    files: [expected, `tiny-${family}`],
    optional: expected,
    run: (dir) => checkTransformer(dir, family),
  };
});

/** The transformer of a pipeline's folder, of the class that its config names. */
export function loadFlowTransformer(pipeline: string): FlowTransformer {
  const folder = join(pipeline, "transformer");
  return readJsonObject(join(folder, "config.json"))._class_name === "FluxTransformer2DModel"
    ? loadTransformer(folder, FluxTransformer2DModel)
    : loadTransformer(folder, SD3Transformer2DModel);
}

/** A time of the golden files as the models here take it: those of FLUX are σ, which is multiplied inside there. */
export const timesOf = (model: FlowTransformer, times: Tensor): Tensor =>
  model instanceof FluxTransformer2DModel ? times.mul(1000) : times;

function checkTransformer(dir: string, family: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get } = openGolden(dir, `expected-${family}.safetensors`);
      const model = loadFlowTransformer(join(dir, `tiny-${family}`));
      const conditions: FlowConditions = { context: get("text/context"), pooled: get("text/pooled") };
      const times = timesOf(model, get("transformer/timesteps"));
      const guidanceScale = file.has("transformer/guidance") ? get("transformer/guidance").item() : undefined;
      const run = (sample: string, t: number | Tensor): Tensor =>
        model.forward(get(sample), t, conditions, { guidanceScale });
      const near = (key: string, value: Tensor): void => cases.near(key, value, get(key), TOLERANCE);
      const [, second] = times.toNumbers() as [number, number];

      for (const [i, t] of times.toNumbers().entries())
        near(`transformer/out.${i}`, run("transformer/sample", t));
      near(
        "transformer/out_t_per_sample",
        run("transformer/sample", timesOf(model, get("transformer/t_per_sample"))),
      );
      near("transformer/other_out", run("transformer/other_sample", second));
      checkPlaces(cases, model, get);

      const taps = file.keys().filter((key) => key.startsWith("transformer/taps/"));
      const scale = Math.max(1, ...taps.map((key) => largest(get(key))));
      const tap = (name: string, value: Tensor): void => {
        // The reference calls its `time_proj` for the time and then for the guidance; the file has what came last.
        if (name === "time_proj" && model.embedsGuidance) return;
        const key = `transformer/taps/${name === "guidance_proj" ? "time_proj" : name}`;
        if (file.has(key)) cases.near(key, value, get(key), name.startsWith("rope") ? 2e-6 : 1e-5 * scale);
      };
      scope(() => model.forward(get("transformer/sample"), second, conditions, { guidanceScale, tap }));
      const given = /^transformer\/(sample|other_sample|timesteps|t_per_sample|guidance)$/;
      cases.covered(
        "transformer",
        file.keys().filter((key) => key.startsWith("transformer/") && !given.test(key)),
      );
      model.dispose();
    }),
  );
}

/** The places of the tokens: SD3's table, FLUX's ids and packing. */
function checkPlaces(cases: Cases, model: FlowTransformer, get: (name: string) => Tensor): void {
  const same = (key: string, value: Tensor): void => cases.near(key, value, get(key), 0);
  const sizeOf = (sample: string): [number, number] => get(sample).shape.slice(2) as [number, number];
  if (model instanceof SD3Transformer2DModel) {
    const { patch_size: patch } = model.config;
    for (const prefix of ["", "other_"]) {
      const [height, width] = sizeOf(`transformer/${prefix}sample`);
      same(
        `transformer/${prefix}pos_embed_cropped`,
        model.pos_embed.positions(height / patch, width / patch),
      );
    }
    return;
  }
  const [height, width] = sizeOf("transformer/sample");
  const sample = get("transformer/sample");
  same("transformer/packed", packLatents(sample, 2));
  same("transformer/img_ids", imageIds(height / 2, width / 2, sample));
  same("transformer/txt_ids", get("transformer/txt_ids").mul(0));
}
