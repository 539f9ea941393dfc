// @ts-check
// Trains a LoRA by `spo train spo`, for SD1.5 and SDXL, loads it with diffusers' own load_lora_weights, and compares the picture that its
// pipeline draws with ours, from the same noise.
//
//   npm run build && node tests/python/trained-lora-in-diffusers.mjs [FIXTURES]
//
// FIXTURES: the folder with tiny-sd15, tiny-sdxl and tiny-spm (../shared/fixtures). Python is SPO_PYTHON, else the one on the PATH that has
// diffusers; without one this says so and ends well.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { LoraStack, loadTextToImage, sampleLatents } from "@spo/diffusion";
import { Generator, noGrad, randn, scope, writeSafetensors } from "@spo/torch";
import { findPython } from "../../scripts/bench/python.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const fixtures = resolve(process.argv[2] ?? join(here, "../../../shared/fixtures"));
const program = join(here, "../../packages/cli/bin/spo.js");
const SEED = 7;
const SAMPLING = { prompt: "a red apple", steps: 5, guidanceScale: 5 };

/** Trains until the LoRA is something to see. @param {string} family @param {string} run @param {string} layout */
function train(family, run, layout) {
  const prompts = `${run}.txt`;
  writeFileSync(prompts, "a red apple\na blue fish\n");
  const words = `--rounds 2 --prompts-per-round 2 --steps 4 --first-branch 1 --threshold 0 --samples 0 --optimizer.lr 0.05 --lora-layout ${layout}`;
  const places = ["--model", join(fixtures, `tiny-${family}`), "--prompts", prompts, "--run", run];
  const judge = ["--spm", join(fixtures, "tiny-spm")];
  execFileSync(
    process.execPath,
    [program, "train", "spo", family, ...places, ...judge, ...words.split(" "), "--quiet"],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  return join(run, "model", "pytorch_lora_weights.safetensors");
}

/** Noise, and what our pipeline draws from it with the LoRA and without. @param {string} model @param {string} lora @param {string} out */
function draw(model, lora, out) {
  const pipe = loadTextToImage(model);
  const { prompt, steps, guidanceScale } = SAMPLING;
  noGrad(() =>
    scope(() => {
      const picture = () =>
        pipe.vae.decodeLatents(
          sampleLatents(pipe, { prompts: [prompt], generators: [new Generator(SEED)], steps, guidanceScale }),
        );
      const noise = randn([1, ...pipe.denoiser.latentShape(pipe.denoiser.sampleSize)], {
        generator: new Generator(SEED),
      });
      const base = picture();
      new LoraStack(pipe.models, [{ path: lora, weight: 1 }]).fuse();
      writeSafetensors(out, { noise, base, trained: picture() });
    }),
  );
}

const python = await findPython();
if (!python) {
  console.log("skipped: no Python with torch and diffusers; give one by SPO_PYTHON");
} else if (!existsSync(fixtures)) {
  console.log(`skipped: there is no folder ${fixtures}`);
} else {
  const folder = mkdtempSync(join(tmpdir(), "trained-lora-in-diffusers-"));
  try {
    const cases = ["sd15", "sdxl"].flatMap((family) =>
      ["kohya", "peft", "diffusers"].map((layout) => {
        const model = join(fixtures, `tiny-${family}`);
        const lora = train(family, join(folder, `${family}-${layout}`), layout);
        const pictures = join(folder, `${family}-${layout}.safetensors`);
        draw(model, lora, pictures);
        return { name: `${family}, ${layout}`, model, lora, pictures, ...SAMPLING };
      }),
    );
    const list = join(folder, "cases.json");
    writeFileSync(list, JSON.stringify(cases));
    const { status } = spawnSync(python, [join(here, "trained_lora_in_diffusers.py"), list], {
      stdio: "inherit",
    });
    process.exitCode = status === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
