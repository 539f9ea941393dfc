// Which candidates win and lose, and whole rollouts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Case, collectCases, type GoldenFamily, loadUnet, loadVae, openGolden } from "@spo/diffusion";
import { noGrad, stack, tensor } from "@spo/torch";
import { SpmJudge } from "../judges/spm-judge.js";
import { resample } from "../objectives/resample.js";
import { relabel } from "../objectives/spm-loss.js";
import { compare } from "../rollout/compare.js";
import { PixelPreferenceModel } from "../spm/pixel-preference-model.js";
import { loadSpm } from "../spm/spm.js";

import { denoiserOf, processOf } from "./golden-inputs.js";

interface DecisionCases {
  cases: {
    name: string;
    scores: number[][];
    threshold: number;
    valid: boolean[];
    win_any_of: number[][];
    lose_any_of: number[][];
    margin: number[];
  }[];
  relabel: { scores: [number, number][]; threshold: number; label_0: number[]; label_1: number[] }[];
}

export function checkDecisions(folder: string): Case[] {
  const { cases: given, relabel: relabelled } = JSON.parse(
    readFileSync(join(folder, "resampler.json"), "utf8"),
  ) as DecisionCases;
  return collectCases((cases) => {
    for (const { name, scores, threshold, valid, win_any_of, lose_any_of, margin } of given) {
      const found = compare(scores, threshold);
      const among = (chosen: number[], allowed: number[][]): boolean[] =>
        allowed.map((list, b) => list.includes(chosen[b] as number));
      cases.exact(`${name}: valid`, found.valid, valid);
      cases.exact(
        `${name}: win and lose`,
        [...among(found.win, win_any_of), ...among(found.lose, lose_any_of)],
        [...win_any_of, ...lose_any_of].map(() => true),
      );
      cases.near(`${name}: margin`, tensor(found.margin), tensor(margin), 1e-6);
    }
    for (const [i, { scores, threshold, label_0, label_1 }] of relabelled.entries()) {
      const [first, second] = [0, 1].map((side) => scores.map((pair) => pair[side] as number)) as [
        number[],
        number[],
      ];
      const { label0, label1 } = relabel(first, second, threshold);
      cases.exact(`relabel.${i}`, [...label0, ...label1], [...label_0, ...label_1]);
    }
  });
}

export function checkRollout(folder: string, family: GoldenFamily): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const { file, get, meta } = openGolden(folder, `rollout-${family}.safetensors`);
      const settings = meta as {
        steps: number;
        k: number;
        divert_start_step: number;
        num_inner_step: number;
        threshold: number;
        eta: number;
        guidance_scale: number;
      };
      const { divert_start_step: firstBranch } = settings;
      const unet = loadUnet(join(folder, `tiny-${family}`, "unet"));
      const vae = loadVae(join(folder, `tiny-${family}`, "vae"));
      const { spm, processor } = loadSpm(join(folder, "tiny-spm"));
      const judge = new SpmJudge(new PixelPreferenceModel(spm, processor, () => get("preference_input_ids")));
      const { pairs, comparisons } = resample({
        denoiser: denoiserOf(unet, file, settings.guidance_scale),
        process: processOf(folder, family),
        decode: (latents) => vae.decodeLatents(latents),
        scorer: judge.prepare([""]), // the tokenizer has them all
        initialLatents: get("initial_latents"),
        randomness: {
          noise: (i) =>
            i < firstBranch
              ? get("noise_before").select(0, i)
              : get("noise_branch").select(0, i - firstBranch),
          choose: (comparison) => get("choices").select(0, comparison).toNumbers(),
        },
        settings: {
          steps: settings.steps,
          candidates: settings.k,
          firstBranch,
          innerSteps: settings.num_inner_step,
          threshold: settings.threshold,
          eta: settings.eta,
        },
      });
      cases.near("scores", tensor(comparisons.map(({ scores }) => scores)), get("scores"), 1e-3);
      cases.exact(
        "score_timesteps",
        comparisons.map(({ timestep }) => timestep),
        get("score_timesteps").toNumbers(),
      );
      cases.exact(
        "indices",
        comparisons.flatMap(({ win, lose }) => [...win, ...lose]),
        get("indices").toNumbers(),
      );
      cases.exact(
        "valid",
        comparisons.flatMap(({ valid }) => valid),
        get("valid").toNumbers(),
      );
      cases.exact("pair_timesteps", pairs.timesteps, get("pair_timesteps").toNumbers());
      cases.exact("pair_prompt", pairs.prompts, get("pair_prompt").toNumbers());
      cases.near("pair_latents", stack([pairs.latentsWin, pairs.latentsLose], 1), get("pair_latents"), 1e-4);
      cases.near(
        "pair_next_latents",
        stack([pairs.nextWin, pairs.nextLose], 1),
        get("pair_next_latents"),
        1e-4,
      );
      for (const model of [unet, vae, spm]) model.dispose();
    }),
  );
}
