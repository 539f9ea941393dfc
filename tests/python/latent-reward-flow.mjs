// @ts-check
// Compares scores of a diffusion-native latent reward model with those that diffusers, peft and torch compute from its formulas: of a
// folder that they wrote, and of one that we write of it.
//
//   npm run build && node tests/python/latent-reward-flow.mjs [FIXTURES]
//
// FIXTURES: folder with tiny-sd35 (../shared/fixtures-flow). Python is SPO_PYTHON, else the one on the PATH that has diffusers; without one
// this says so and ends well.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTextToImage } from "@spo/diffusion";
import { noGrad, readSafetensors, scope } from "@spo/torch";
import { openPreferenceModel } from "spo";
import { findPython } from "../../scripts/bench/python.mjs";

/** @typedef {import("@spo/torch").Tensor} Tensor */

const here = fileURLToPath(new URL(".", import.meta.url));
const fixtures = resolve(process.argv[2] ?? join(here, "../../../shared/fixtures-flow"));
const model = join(fixtures, "tiny-sd35");
/** Both sides are float32, summed in other orders. */
const TOLERANCE = 2e-5;

const python = await findPython();
if (!python) {
  console.log("skipped: no Python with torch and diffusers; give one by SPO_PYTHON");
} else if (!existsSync(model)) {
  console.log(`skipped: there is no folder ${model}`);
} else {
  const temporary = mkdtempSync(join(tmpdir(), "latent-reward-flow-"));
  const inputs = join(temporary, "inputs.safetensors");
  /** @param {"write" | "read"} what @param {string} folder */
  const ask = (what, folder) => {
    const list = join(temporary, "case.json");
    writeFileSync(list, JSON.stringify({ folder, inputs, transformer: join(model, "transformer") }));
    return (
      spawnSync(python, [join(here, "latent_reward_flow.py"), what, list], { stdio: "inherit" }).status === 0
    );
  };
  try {
    const [theirs, ours] = [join(temporary, "theirs"), join(temporary, "ours")];
    mkdirSync(theirs);
    if (!ask("write", theirs)) throw new Error("Python wrote no folder");
    const judge = openPreferenceModel(theirs, loadTextToImage(model));
    const apart = noGrad(() =>
      scope(() => {
        const given = readSafetensors(inputs);
        const of = (/** @type {string} */ name) => /** @type {Tensor} */ (given.get(name));
        const texts = { context: of("context"), pooled: of("pooled") };
        const found = judge.score(of("latents"), of("timesteps"), texts);
        return found.sub(of("scores")).abs().max().item();
      }),
    );
    console.log(`their folder here: scores at most ${apart.toExponential(1)} apart`);
    judge.save(ours);
    process.exitCode = ask("read", ours) && apart < TOLERANCE ? 0 : 1;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
