// Golden checks of the published layouts: read in, and written back out. Names, sizes and settings are read from the files.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { noGrad, openTorchFile, type Tensor, UserError } from "@spo/torch";
import { loadSingleFile, saveSingleFile } from "../families/load-single-file.js";
import type { StoredModel } from "../layouts/model-folder.js";
import { loadUnet, readWeights } from "../layouts/model-folder.js";
import { type LoraLayoutName, loadLora, readLora, writeLora } from "../lora/lora-file.js";
import { compareFiles, inTemporaryFolder, sameTensor } from "./compare-files.js";
import { type Case, type Check, collectCases, openGolden } from "./verify-check.js";
import { checkVae, compareUnet, GOLDEN_FAMILIES, type GoldenFamily } from "./verify-modules.js";

const LORA_LAYOUTS: readonly LoraLayoutName[] = ["diffusers", "peft", "kohya"];

export const layoutChecks: readonly Check[] = [
  ...GOLDEN_FAMILIES.flatMap((family) =>
    LORA_LAYOUTS.map(
      (layout): Check => ({
        name: `LoRA, ${family}, ${layout} layout`,
        files: [
          `lora-${family}-${layout}.safetensors`,
          `expected-lora-${family}.safetensors`,
          `tiny-${family}`,
        ],
        run: (dir) => checkLora(dir, family, layout),
      }),
    ),
  ),
  ...GOLDEN_FAMILIES.map(
    (family): Check => ({
      name: `single file, ${family}`,
      files: [`single-file-${family}.safetensors`, `tiny-${family}`],
      run: (dir) => checkSingleFile(dir, family),
    }),
  ),
  { name: "weights of torch.save", files: ["torch-bin"], run: checkTorchFiles },
  {
    name: "VAE with old attention names",
    files: ["expected-sd15.safetensors", "legacy-vae"],
    run: (dir) => checkVae(dir, "sd15", "legacy-vae"),
  },
  { name: "UNet in shards", files: ["sharded-sd15-unet", "tiny-sd15"], run: checkShards },
  {
    name: "UNet in float16",
    files: ["fp16-sd15-unet", "tiny-sd15", "expected-sd15.safetensors"],
    run: checkHalf,
  },
];

/**
 * Outputs with the adapter on, scaled, merged and off; then written in each layout and compared with the file of that layout, bit for bit.
 */
function checkLora(dir: string, family: GoldenFamily, layout: LoraLayoutName): Case[] {
  const fileOf = (name: LoraLayoutName): string => join(dir, `lora-${family}-${name}.safetensors`);
  return noGrad(() =>
    collectCases((cases) => {
      const { file: golden } = openGolden(dir, `expected-lora-${family}.safetensors`);
      const unet = loadUnet(join(dir, `tiny-${family}`, "unet"));
      const conditions = {
        context: golden.get("context"),
        ...(golden.has("text_embeds") && {
          textEmbeds: golden.get("text_embeds"),
          timeIds: golden.get("time_ids"),
        }),
      };
      const run = (): Tensor => unet.forward(golden.get("sample"), golden.get("timestep").item(), conditions);
      cases.near("out_base", run(), golden.get("out_base"), 1e-5);
      const lora = loadLora(unet, fileOf(layout));
      for (const name of golden.keys().filter((key) => key.startsWith("out_scale_"))) {
        lora.scale = Number(name.slice("out_scale_".length));
        cases.near(name, run(), golden.get(name), 1e-5);
        cases.near(`${name}, merged`, lora.merged(run), golden.get(name), 1e-5);
      }
      cases.near("off", lora.without(run), golden.get("out_base"), 1e-5);
      lora.remove();
      cases.near("removed", run(), golden.get("out_base"), 1e-5);

      const { adapter } = readLora(fileOf(layout), { unet });
      inTemporaryFolder((folder) => {
        for (const other of LORA_LAYOUTS) {
          const written = join(folder, `${other}.safetensors`);
          writeLora(written, adapter, { unet }, { layout: other });
          // Written and read back. kohya's file of SDXL has another alpha than the others imply, so only its own layout has its bytes.
          const back = join(folder, `${other}-${layout}.safetensors`);
          writeLora(back, readLora(written, { unet }).adapter, { unet }, { layout });
          compareFiles(cases, `written as ${other} and back`, back, fileOf(layout));
          const plainAlpha = [...adapter.values()].every(({ alpha, down }) => alpha === down.shape[0]);
          if (plainAlpha && other !== "kohya" && existsSync(fileOf(other)))
            compareFiles(cases, `written as ${other}`, written, fileOf(other));
        }
      });
      unet.dispose();
    }),
  );
}

/** The single file gives the folders' tensors; a file written from the folders has its names and bytes. */
function checkSingleFile(dir: string, family: GoldenFamily): Case[] {
  return collectCases((cases) => {
    const single = join(dir, `single-file-${family}.safetensors`);
    const folder = join(dir, `tiny-${family}`);
    const { models } = loadSingleFile(single, { configs: folder });
    const parts: [string, StoredModel][] = Object.entries(models);
    for (const [part, model] of parts) {
      const wanted = readWeights(join(folder, part), WEIGHTS).weights;
      const found = model.namedParameters();
      let wrong = 0;
      for (const [name, expected] of wanted) {
        if (name.endsWith("position_ids")) continue;
        const actual = found.get(name) ?? found.get(`text_model.${name}`);
        wrong += Number(!actual || !sameTensor(actual, expected));
      }
      cases.list.push({ case: `${part}, ${found.size} tensors equal`, maxError: wrong, tolerance: 0 });
    }
    inTemporaryFolder((temporary) => {
      const written = join(temporary, "single.safetensors");
      saveSingleFile(written, models);
      const { not_weights: ignored = [] } = openGolden(dir, `single-file-${family}.safetensors`).meta as {
        not_weights?: string[];
      };
      compareFiles(cases, "written back", written, single, ignored);
    });
    for (const [, model] of parts) model.dispose();
  });
}

const WEIGHTS = ["diffusion_pytorch_model.safetensors", "model.safetensors"];

/** Each X.bin gives the tensors of X.safetensors; a file without one must be refused, and reading it must create nothing. */
function checkTorchFiles(dir: string): Case[] {
  return collectCases((cases) => {
    const folder = join(dir, "torch-bin");
    const names = readdirSync(folder).filter((name) => name.endsWith(".bin"));
    for (const name of names.sort()) {
      const golden = join(folder, name.replace(/\.bin$/, ".safetensors"));
      if (existsSync(golden)) compareFiles(cases, name, join(folder, name), golden);
      else
        cases.list.push({
          case: `${name} is refused`,
          maxError: Number(!refused(join(folder, name))),
          tolerance: 0,
        });
    }
  });
}

function refused(path: string): boolean {
  const before = readdirSync(".").join();
  try {
    openTorchFile(path).close();
    return false;
  } catch (error) {
    return error instanceof UserError && readdirSync(".").join() === before;
  }
}

/** The weights in shards are those of the whole file, bit for bit. */
function checkShards(dir: string): Case[] {
  return collectCases((cases) => {
    const sharded = loadUnet(join(dir, "sharded-sd15-unet")).namedParameters();
    for (const [name, whole] of loadUnet(join(dir, "tiny-sd15", "unet")).namedParameters()) {
      const part = sharded.get(name) as Tensor;
      if (part.ne(whole).any().item() !== 0) cases.list.push({ case: name, maxError: 1, tolerance: 0 });
    }
    cases.list.push({ case: `${sharded.size} tensors equal`, maxError: cases.list.length, tolerance: 0 });
  });
}

/** float16 weights load as their exact values; outputs move by the rounding of the weights. */
function checkHalf(dir: string): Case[] {
  return collectCases((cases) => {
    const half = loadUnet(join(dir, "fp16-sd15-unet"));
    const whole = loadUnet(join(dir, "tiny-sd15", "unet")).namedParameters();
    let wrong = 0;
    for (const [name, value] of half.namedParameters()) {
      const rounded = (whole.get(name) as Tensor).to({ dtype: "float16" }).to({ dtype: "float32" });
      wrong += value.ne(rounded).any().item();
    }
    cases.list.push({ case: `${whole.size} tensors equal the rounded ones`, maxError: wrong, tolerance: 0 });
    // This is no error: the outputs move because the weights were rounded. How far depends on the model; it is small beside the outputs.
    compareUnet(cases, dir, "sd15", half, (scale) => 1e-2 * Math.max(1, scale));
    half.dispose();
  });
}
