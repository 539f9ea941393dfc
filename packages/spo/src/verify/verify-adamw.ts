// The optimizer, step by step.
import { type Case, collectCases, largest, openGolden } from "@spo/diffusion";
import { AdamW, clipGradNorm, noGrad, type Tensor, tensor } from "@spo/torch";
import { namesUnder } from "./golden-inputs.js";

export function checkAdamW(folder: string): Case[] {
  return collectCases((cases) => {
    const { file, get, meta } = openGolden(folder, "losses-adamw.safetensors");
    const settings = meta as {
      lr: number;
      betas: [number, number];
      eps: number;
      weight_decay: number;
      max_norm: number;
    };
    const steps = file.keys().filter((key) => /^norm\d+$/.test(key)).length;
    const names = namesUnder(file, "before/");
    const parameters = names.map((name) => {
      const parameter = get(`before/${name}`).clone();
      parameter.requiresGrad = true;
      return parameter;
    });
    const optimizer = new AdamW(parameters, { ...settings, weightDecay: settings.weight_decay });
    const worst = (prefix: string, actual: (i: number) => Tensor): void => {
      const errors = names.map((name, i) =>
        largest(
          noGrad(() =>
            actual(i)
              .detach()
              .sub(get(`${prefix}/${name}`)),
          ),
        ),
      );
      cases.list.push({ case: prefix, maxError: Math.max(...errors), tolerance: 5e-7 });
    };
    for (let step = 1; step <= steps; step++) {
      for (const [i, name] of names.entries())
        (parameters[i] as Tensor).grad = get(`grad${step}/${name}`).clone();
      const norm = clipGradNorm(parameters, settings.max_norm);
      optimizer.step();
      const expected = get(`norm${step}`);
      cases.near(`norm${step}`, tensor(norm), expected, 1e-6 * Math.max(1, expected.item()));
      worst(`after${step}`, (i) => parameters[i] as Tensor);
    }
    const state = optimizer.state();
    worst("exp_avg", (i) => state.get(`exp_avg.${i}`) as Tensor);
    worst("exp_avg_sq", (i) => state.get(`exp_avg_sq.${i}`) as Tensor);
    optimizer.dispose();
  });
}
