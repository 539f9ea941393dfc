// @ts-check
// Writes LoRAs and merged folders of Stable Diffusion 3, 3.5 and FLUX.1, and compares the pictures that diffusers' pipelines draw with them
// with ours, from the same noise. The LoRA in PEFT's layout is loaded by peft: of flow models diffusers does not read those names.
//
//   npm run build && node tests/python/flow-in-diffusers.mjs [FIXTURES]
//
// FIXTURES: folder with tiny-sd3, tiny-sd35 and tiny-flux (../shared/fixtures-flow). Python is SPO_PYTHON, else the one on the PATH that
// has diffusers; without one this says so and ends well.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { LoraStack, loadTextToImage, sampleLatents, writeLora } from "@spo/diffusion";
import { Generator, Linear, noGrad, randn, scope, writeSafetensors } from "@spo/torch";
import { findPython } from "../../scripts/bench/python.mjs";

/** @typedef {import("@spo/diffusion").TextToImage} TextToImage */

const here = fileURLToPath(new URL(".", import.meta.url));
const fixtures = resolve(process.argv[2] ?? join(here, "../../../shared/fixtures-flow"));
const SEED = 7;
const SAMPLING = { prompt: "a red apple", steps: 4, guidanceScale: 3 };

/** Attentions and feed-forwards of all blocks. @param {TextToImage} pipe */
function adapterFor(pipe) {
  const generator = new Generator(11);
  const wanted = /blocks\.\d+\.(attn2?\.(to|add)_|ff(_context)?\.net\.|proj_mlp$|proj_out$)/;
  return new Map(
    [...pipe.denoiser.modules()].flatMap(([name, module]) => {
      if (!(module instanceof Linear) || !wanted.test(name)) return [];
      const [outputs, inputs] = /** @type {[number, number]} */ (module.weight.shape);
      const [down, up] = [randn([4, inputs], { generator }), randn([outputs, 4], { generator })];
      return [[`transformer.${name}`, { down: down.mul(0.2), up: up.mul(0.2), alpha: 2 }]];
    }),
  );
}

/** @param {TextToImage} pipe */
function picture(pipe) {
  const { prompt, steps, guidanceScale } = SAMPLING;
  const generators = [new Generator(SEED)];
  return pipe.vae.decodeLatents(sampleLatents(pipe, { prompts: [prompt], generators, steps, guidanceScale }));
}

const python = await findPython();
if (!python) {
  console.log("skipped: no Python with torch and diffusers; give one by SPO_PYTHON");
} else if (!existsSync(fixtures)) {
  console.log(`skipped: there is no folder ${fixtures}`);
} else {
  const folder = mkdtempSync(join(tmpdir(), "flow-in-diffusers-"));
  try {
    const cases = ["sd3", "sd35", "flux"].map((family) => {
      const model = join(fixtures, `tiny-${family}`);
      const at = (/** @type {string} */ name) => join(folder, `${family}-${name}`);
      const pipe = loadTextToImage(model);
      return noGrad(() =>
        scope(() => {
          const adapter = adapterFor(pipe);
          const lora = at("lora.safetensors");
          writeLora(lora, adapter, pipe.models, { layout: "diffusers" });
          const peft = at("peft");
          writeLora(join(peft, "adapter_model.safetensors"), adapter, pipe.models, { layout: "peft" });
          const shape = pipe.denoiser.latentShape(pipe.denoiser.sampleSize);
          const noise = randn([1, ...shape], { generator: new Generator(SEED) });
          const base = picture(pipe);
          new LoraStack(pipe.models, [{ path: lora, weight: 1 }]).fuse();
          pipe.save(at("merged"));
          const pictures = at("pictures.safetensors");
          writeSafetensors(pictures, { noise, base, adapted: picture(pipe) });
          return { family, model, lora, peft, merged: at("merged"), pictures, ...SAMPLING };
        }),
      );
    });
    const list = join(folder, "cases.json");
    writeFileSync(list, JSON.stringify(cases));
    const { status } = spawnSync(python, [join(here, "flow_in_diffusers.py"), list], { stdio: "inherit" });
    process.exitCode = status === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
