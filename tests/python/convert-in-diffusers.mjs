// @ts-check
// Converts the tiny pipelines by `spo convert` and lets diffusers load what came out; the models then have to give what ours give.
//
//   npm run build && node tests/python/convert-in-diffusers.mjs [FIXTURES]
//
// FIXTURES: the folder with tiny-sd15 and tiny-sdxl (../shared/fixtures). Python is SPO_PYTHON, else the one on the PATH that has
// diffusers; without one this says so and ends well.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTextToImage } from "@spo/diffusion";
import { Generator, noGrad, randn, scope, writeSafetensors } from "@spo/torch";
import { findPython } from "../../scripts/bench/python.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const fixtures = resolve(process.argv[2] ?? join(here, "../../../shared/fixtures"));
const program = join(here, "../../packages/cli/bin/spo.js");

/** What our own models give for a prompt and noise; the same is asked of diffusers. @param {string} path @param {string} out */
function expected(path, out) {
  const pipe = loadTextToImage(path);
  const [side] = pipe.denoiser.sampleSize;
  const { factor } = pipe.vae;
  noGrad(() =>
    scope(() => {
      const sample = randn([1, 4, side, side], { generator: new Generator(1) });
      const size = /** @type {const} */ ([side * factor, side * factor]);
      const { conditional } = pipe.encode(["a red apple! ?!?"], { size });
      const unet = pipe.denoiser.forward(sample, 501, conditional);
      const pixels = pipe.vae.decode(sample);
      const context = /** @type {import("@spo/torch").Tensor} */ (conditional.context);
      writeSafetensors(out, { sample, context, unet, pixels });
    }),
  );
}

const python = await findPython();
if (!python) {
  console.log("skipped: no Python with torch and diffusers");
} else {
  const folder = mkdtempSync(join(tmpdir(), "convert-in-diffusers-"));
  try {
    const cases = [];
    for (const family of ["sd15", "sdxl"]) {
      const model = join(fixtures, `tiny-${family}`);
      const lora = join(fixtures, `lora-${family}-kohya.safetensors`);
      const at = (/** @type {string} */ name) => join(folder, `${family}-${name}`);
      const convert = (/** @type {string[]} */ ...args) =>
        execFileSync(process.execPath, [program, "convert", "--quiet", ...args], { stdio: "pipe" });
      convert(model, "--output", at("plain.safetensors"));
      convert(at("plain.safetensors"), "--configs", model, "--output", at("folder"));
      convert(model, "--lora", lora, "--output", at("merged"));
      convert(model, "--lora", lora, "--output", at("merged.safetensors"));
      for (const [name, ours] of [
        ["plain.safetensors", model],
        ["folder", model],
        ["merged", at("merged")],
        ["merged.safetensors", at("merged")],
      ]) {
        const values = at(`${name}.values`);
        expected(/** @type {string} */ (ours), values);
        cases.push({ family, file: at(/** @type {string} */ (name)), config: model, values });
      }
    }
    const list = join(folder, "cases.json");
    writeFileSync(list, JSON.stringify(cases));
    const { status } = spawnSync(python, [join(here, "convert_in_diffusers.py"), list], { stdio: "inherit" });
    process.exitCode = status ?? 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
