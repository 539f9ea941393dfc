// Golden values of models, tokenizer, sampling and LoRA: what `spo verify` runs, and the tests. Sizes and settings are read from the files.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { ClipTokenizer, loadTokenizer } from "./clip-tokenizer.js";
import { ddimStep, gaussianLogProb } from "./ddim.js";
import { loadTextEncoder, loadUnet } from "./model-folder.js";
import type { SchedulerConfig } from "./noise-schedule.js";
import { StableDiffusion } from "./stable-diffusion.js";
import { type Case, type Check, collectCases, openGolden } from "./verify-check.js";
import { layoutChecks } from "./verify-layouts.js";
import { addedOf, checkVae, compareUnet, type Family } from "./verify-modules.js";

export const diffusionChecks: readonly Check[] = [
  { name: "CLIP tokenizer", files: ["clip-tokenizer"], run: checkTokenizer },
  { name: "text encoder, sd15", files: ["expected-sd15.safetensors", "tiny-sd15"], run: checkText },
  {
    name: "UNet, sd15",
    files: ["expected-sd15.safetensors", "tiny-sd15"],
    run: (dir) => checkUnet(dir, "sd15"),
  },
  {
    name: "UNet, sdxl",
    files: ["expected-sdxl.safetensors", "tiny-sdxl"],
    run: (dir) => checkUnet(dir, "sdxl"),
  },
  {
    name: "VAE, sd15",
    files: ["expected-sd15.safetensors", "tiny-sd15"],
    run: (dir) => checkVae(dir, "sd15", "tiny-sd15/vae"),
  },
  {
    name: "VAE, sdxl",
    files: ["expected-sdxl.safetensors", "tiny-sdxl"],
    run: (dir) => checkVae(dir, "sdxl", "tiny-sdxl/vae"),
  },
  ...["ddim-eta1", "ddim-eta0", "ddim-vpred"].map(
    (which): Check => ({
      name: `trajectory, sd15 ${which}`,
      files: [`trajectory-sd15-${which}.safetensors`, "tiny-sd15"],
      run: (dir) => checkTrajectory(dir, which),
    }),
  ),
  ...layoutChecks,
];

function checkTokenizer(dir: string): Case[] {
  return collectCases((cases) => {
    const folder = join(dir, "clip-tokenizer");
    const first = loadTokenizer(folder);
    const second = new ClipTokenizer({ ...first.options, padToken: "!" }); // SDXL's second one
    const golden = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as {
      cases: { prompt: string; length: number; ids_sd15: number[]; ids_sdxl_2: number[] }[];
    };
    const wrong = { ids_sd15: 0, ids_sdxl_2: 0, length: 0 };
    for (const { prompt, length, ids_sd15, ids_sdxl_2 } of golden.cases) {
      const ids = first.encodePadded(prompt);
      wrong.ids_sd15 += Number(ids.join() !== ids_sd15.join());
      wrong.ids_sdxl_2 += Number(second.encodePadded(prompt).join() !== ids_sdxl_2.join());
      const end = ids[ids.length - 1] as number;
      wrong.length += Number(ids.indexOf(end) + 1 !== length && first.encode(prompt).length !== length);
    }
    for (const [name, count] of Object.entries(wrong))
      cases.list.push({ case: `${name}, ${golden.cases.length} prompts`, maxError: count, tolerance: 0 });
  });
}

function checkText(dir: string): Case[] {
  return collectCases((cases) => {
    const { file, get } = openGolden(dir, "expected-sd15.safetensors");
    const encoder = loadTextEncoder(join(dir, "tiny-sd15", "text_encoder"));
    const { hiddenStates, lastHiddenState, pooled } = encoder.forward(get("text/input_ids"));
    for (const [i, state] of hiddenStates.entries()) {
      if (file.has(`text/hidden_states.${i}`))
        cases.near(`text/hidden_states.${i}`, state, get(`text/hidden_states.${i}`), 1e-5);
    }
    cases.near("text/last_hidden_state", lastHiddenState, get("text/last_hidden_state"), 1e-5);
    cases.near("text/pooler_output", pooled, get("text/pooler_output"), 1e-5);
    encoder.dispose();
  });
}

function checkUnet(dir: string, family: Family): Case[] {
  return collectCases((cases) => {
    const unet = loadUnet(join(dir, `tiny-${family}`, "unet"));
    compareUnet(cases, dir, family, unet, 1e-5);
    const { file, get } = openGolden(dir, `expected-${family}.safetensors`);
    const timesteps = get("unet/timesteps").toNumbers();
    const added = addedOf(dir, family);
    cases.near(
      "unet/odd_out",
      unet.forward(get("unet/odd_sample"), timesteps[1] as number, get("unet/context"), { added }),
      get("unet/odd_out"),
      1e-5,
    );
    cases.near(
      "unet/out_t_per_sample",
      unet.forward(get("unet/sample"), get("unet/t_per_sample"), get("unet/context"), { added }),
      get("unet/out_t_per_sample"),
      1e-5,
    );
    const tap = (name: string, value: Tensor): void => {
      const key = `unet/taps/${name}`;
      if (file.has(key)) cases.near(key, value, get(key), (scale) => 1e-5 * Math.max(1, scale));
    };
    unet.forward(get("unet/sample"), timesteps[1] as number, get("unet/context"), { added, tap });
    const wanted = file.keys().filter((key) => key.startsWith("unet/taps/"));
    const missed = wanted.filter((key) => !cases.list.some((found) => found.case === key));
    cases.list.push({
      case: `unet/taps seen${missed.length > 0 ? ` (not ${missed.join(", ")})` : ""}`,
      maxError: missed.length,
      tolerance: 0,
    });
    unet.dispose();
  });
}

/** Text to image, step by step, with the noises of the file. */
function checkTrajectory(dir: string, which: string): Case[] {
  return noGrad(() =>
    collectCases((cases) => {
      const { file, get, meta } = openGolden(dir, `trajectory-sd15-${which}.safetensors`);
      const {
        steps,
        guidance_scale: guidanceScale,
        eta,
        prompts,
        negative_prompt: negative,
      } = meta as {
        steps: number;
        guidance_scale: number;
        eta: number;
        prompts: string[];
        negative_prompt: string | null;
      };
      const loaded = StableDiffusion.load(join(dir, "tiny-sd15"));
      const pipe = loaded.withScheduler(meta.scheduler_config as SchedulerConfig);
      const context = pipe.encodePrompts(prompts);
      const uncond = pipe.encodePrompts(prompts.map(() => negative ?? ""));
      cases.exact("input_ids", pipe.tokenizer.encodeBatch(prompts).toNumbers(), get("input_ids").toNumbers());
      cases.near("prompt_embeds", context, get("prompt_embeds"), 1e-5);
      cases.near("negative_prompt_embeds", uncond, get("negative_prompt_embeds"), 1e-5);
      const timesteps = pipe.schedule.timesteps(steps);
      cases.exact("timesteps", timesteps, get("timesteps").toNumbers());
      const worst = new Map<string, number>();
      const see = (name: string, step: number, actual: Tensor): void => {
        if (!file.has(name)) return;
        const error = actual.sub(get(name).select(0, step)).abs().max().item();
        worst.set(name, Math.max(worst.get(name) ?? 0, error));
      };
      let xt = get("initial_latents");
      for (const [i, t] of timesteps.entries()) {
        xt = scope(() => {
          const output = pipe.predictOutput(xt, t, { context, uncond, guidanceScale });
          const eps = pipe.epsOf(xt, output, t);
          see("v", i, output);
          see("eps", i, eps);
          const alphaBarPrev = pipe.schedule.alphaBar(Math.max(t - pipe.schedule.stride(steps), 0));
          const { x0, mean, std } = ddimStep(xt, eps, {
            alphaBar: pipe.schedule.alphaBar(t),
            alphaBarPrev,
            eta,
          });
          const next = eta > 0 ? mean.add(get("noises").select(0, i), { alpha: std }) : mean;
          see("x0", i, x0);
          see("mean", i, mean);
          see("std", i, mean.mean([1, 2, 3]).mul(0).add(std));
          if (std > 0) see("log_prob", i, gaussianLogProb(next, { mean, std }));
          see("latents", i, next);
          return next;
        });
      }
      const tolerances: Record<string, number> = {
        x0: which === "ddim-vpred" ? 1e-4 : 1e-3,
        std: 1e-5,
        log_prob: 2e-5,
      };
      for (const [name, error] of worst)
        cases.list.push({
          case: `${name}, ${steps} steps`,
          maxError: error,
          tolerance: tolerances[name] ?? 1e-4,
        });
      cases.near("image01", pipe.vae.decodeLatents(xt).div(2).add(0.5).clamp(0, 1), get("image01"), 1e-4);
    }),
  );
}
