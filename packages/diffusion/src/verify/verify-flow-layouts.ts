// Golden checks of the flow families' published layouts: read in, and written back out.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { noGrad, openSafetensors, scope, type Tensor } from "@spo/torch";
import { readJsonObject } from "../config.js";
import { familyOfModels } from "../families/families.js";
import type { Family } from "../families/family.js";
import { flux } from "../families/flux.js";
import { loadSingleFile, saveSingleFile } from "../families/load-single-file.js";
import { readPartFile } from "../layouts/single-file.js";
import { type LoraLayoutName, loadLora, loraFileAt, readLora, writeLora } from "../lora/lora-file.js";
import { compareFiles, inTemporaryFolder, sameTensor } from "./compare-files.js";
import { type Case, type Cases, type Check, collectCases, openGolden } from "./verify-check.js";
import { loadFlowTransformer } from "./verify-transformers.js";

const TOLERANCE = 2e-5;

/** The LoRA files of each family: layout, ending of the name, and the outputs that they give. */
const LORAS: readonly { layout: LoraLayoutName; file: string; out: string }[] = [
  { layout: "diffusers", file: "diffusers.safetensors", out: "out_scale_" },
  { layout: "peft", file: "peft", out: "out_scale_" },
  { layout: "kohya", file: "kohya.safetensors", out: "out_scale_" },
  { layout: "comfy", file: "comfy.safetensors", out: "out_scale_" },
  { layout: "kohya", file: "kohya-fused.safetensors", out: "out_kohya_fused_scale_" },
];

/** The checks of single files and of adapters. */
export const flowLayoutChecks: readonly Check[] = [
  ...["sd3", "sd35", "flux", "flux-schnell", "flux-ae"].map((name): Check => {
    const file = `single-file-${name}.safetensors`;
    const folder = name === "flux-ae" ? "tiny-flux" : `tiny-${name}`;
    return {
      name: `single file, ${name}`,
      files: [file, folder],
      optional: file,
      run: (dir) => checkSingleFile(dir, file),
    };
  }),
  ...["sd3", "sd35", "flux"].flatMap((family) =>
    LORAS.map((lora): Check => {
      const expected = `expected-lora-${family}.safetensors`;
      return {
        name: `LoRA, ${family}, ${lora.file.replace(".safetensors", "")} layout`,
        files: [expected, `lora-${family}-${lora.file}`, `tiny-${family}`],
        optional: expected,
        run: (dir) => checkLora(dir, family, lora),
      };
    }),
  ),
];

/** The file gives the folder's tensors, and what is written of them has its names and bytes. */
function checkSingleFile(dir: string, name: string): Case[] {
  return collectCases((cases) => {
    const path = join(dir, name);
    const { meta } = openGolden(dir, name);
    const folder = join(dir, String(meta.same_weights_as));
    if (existsSync(join(folder, "config.json"))) checkOneModel(cases, path, folder);
    else checkPipeline(cases, path, folder, meta);
  });
}

/** A file of one model of FLUX: its transformer or VAE. */
function checkOneModel(cases: Cases, path: string, folder: string): void {
  const part = folder.endsWith("vae") ? "vae" : "transformer";
  const config = readJsonObject(join(folder, "config.json"));
  const model = readPartFile(path, flux, part, config, {});
  compareWithFolder(cases, flux, part, model.namedParameters(), dirname(folder));
  scope(() => {
    const { prefix, names } = (flux as Family).parts[part]?.original ?? {};
    using file = openSafetensors(path);
    const written = names?.(config).toOriginal(model.namedParameters()) ?? new Map<string, Tensor>();
    const wanted = file.keys();
    const found = wanted.filter((key) => {
      const own = written.get(key.startsWith(prefix ?? "") ? key.slice(prefix?.length) : key);
      return own !== undefined && sameTensor(own, file.get(key));
    });
    cases.exact("written back", [found.length, written.size], [wanted.length, wanted.length]);
  });
  model.dispose();
}

/** A file of a pipeline's models; those that it lacks are taken from the folder. */
function checkPipeline(cases: Cases, path: string, folder: string, meta: Record<string, unknown>): void {
  const { models } = loadSingleFile(path, { configs: folder });
  const family = familyOfModels(models);
  const parts = meta.parts as string[];
  const own = Object.fromEntries(Object.entries(models).filter(([part]) => parts.includes(part)));
  for (const [part, model] of Object.entries(own))
    compareWithFolder(cases, family, part, model.namedParameters(), folder);
  inTemporaryFolder((temporary) => {
    const written = join(temporary, "single.safetensors");
    saveSingleFile(written, own);
    // T5's embedding stands there twice; one is enough for every reader.
    const ignored = [
      ...(meta.not_weights as string[]),
      ...openSafetensors(path)
        .keys()
        .filter((key) => key.endsWith(".encoder.embed_tokens.weight")),
    ];
    compareFiles(cases, "written back", written, path, ignored);
  });
  for (const model of Object.values(models)) model.dispose();
}

function compareWithFolder(
  cases: Cases,
  { parts }: Family,
  part: string,
  found: ReadonlyMap<string, Tensor>,
  folder: string,
): void {
  const wanted = parts[part]?.load(join(folder, part), {});
  let wrong = 0;
  for (const [name, expected] of wanted?.namedParameters() ?? []) {
    const actual = found.get(name);
    wrong += Number(!actual || !sameTensor(actual, expected));
  }
  cases.list.push({ case: `${part}, ${found.size} tensors equal`, maxError: wrong, tolerance: 0 });
  wanted?.dispose();
}

/** Outputs with the adapter on, scaled, merged and off; then written in each layout and back, bit for bit. */
function checkLora(dir: string, family: string, { layout, file, out }: (typeof LORAS)[number]): Case[] {
  const pathOf = (name: string): string => join(dir, `lora-${family}-${name}`);
  const path = pathOf(file);
  return noGrad(() =>
    collectCases((cases) => {
      const { get, file: golden } = openGolden(dir, `expected-lora-${family}.safetensors`);
      const model = loadFlowTransformer(join(dir, `tiny-${family}`));
      const conditions = { context: get("context"), pooled: get("pooled") };
      const [sigma, guidanceScale] = [get("sigma").item(), get("guidance").item()];
      const run = (): Tensor => model.forward(get("sample"), 1000 * sigma, conditions, { guidanceScale });
      cases.near("out_base", run(), get("out_base"), TOLERANCE);
      const lora = loadLora(model, path);
      for (const key of golden.keys().filter((key) => key.startsWith(out))) {
        lora.scale = Number(key.slice(out.length));
        cases.near(key, run(), get(key), TOLERANCE);
        cases.near(`${key}, merged`, lora.merged(run), get(key), TOLERANCE);
      }
      cases.near("off", lora.without(run), get("out_base"), TOLERANCE);
      lora.remove();

      const models = { transformer: model };
      const { adapter } = readLora(path, models);
      inTemporaryFolder((folder) => {
        for (const other of LORAS.slice(0, 4)) {
          const written = join(folder, `${other.layout}.safetensors`);
          writeLora(written, adapter, models, { layout: other.layout });
          const back = join(folder, "back.safetensors");
          writeLora(back, readLora(written, models).adapter, models, { layout });
          compareFiles(cases, `written as ${other.layout} and back`, back, loraFileAt(path));
          const plainAlpha = [...adapter.values()].every(({ alpha, down }) => alpha === down.shape[0]);
          if (plainAlpha && other.layout !== "kohya" && existsSync(pathOf(other.file)))
            compareFiles(cases, `written as ${other.layout}`, written, loraFileAt(pathOf(other.file)));
        }
      });
      model.dispose();
    }),
  );
}
