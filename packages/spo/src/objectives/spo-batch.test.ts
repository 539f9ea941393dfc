import {
  addLora,
  type Denoiser,
  FlowSchedule,
  gaussianLogProb,
  guidedDenoiser,
  type Lora,
  type NoiseProcess,
  UNet2DConditionModel,
  VpSchedule,
} from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { AdamW, Generator, initialize, liveTensors, noGrad, randn, scope, type Tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { backward, pairLogProbs, ratioFigures, type SpoBatch, spoBatchLoss } from "./spo-loss.js";
import type { StepPairs } from "./step-pairs.js";

const unet = new UNet2DConditionModel({
  block_out_channels: [8, 16],
  layers_per_block: 1,
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  cross_attention_dim: 12,
  attention_head_dim: 2,
  norm_num_groups: 4,
});
const generator = new Generator(3);
initialize(unet, generator);
const lora: Lora = addLora(unet, { rank: 2 }, generator);
const process = new VpSchedule();
const context = randn([3, 5, 12], { generator });
const uncond = randn([1, 5, 12], { generator });
const conditions = {
  model: unet,
  conditional: { context },
  unconditional: { context: uncond },
  guidanceScale: 5,
};
const policy = guidedDenoiser(conditions);
const reference = guidedDenoiser({ ...conditions, around: (call) => lora.without(call) });

function pairsOf(size: number): StepPairs {
  const latents = (): Tensor => randn([size, 4, 8, 8], { generator });
  const list = <T>(of: (i: number) => T): T[] => Array.from({ length: size }, (_, i) => of(i));
  const latentsWin = latents();
  return {
    size,
    timesteps: list((i) => 951 - 50 * i),
    prompts: list((i) => i % 3),
    latentsWin,
    latentsLose: latentsWin,
    nextWin: latents(),
    nextLose: latents(),
    shared: list(() => true),
    margins: list(() => 0.5),
    comparisons: list(() => 0),
  };
}
const batchOf = (pairs: StepPairs, meter?: WorkMeter): SpoBatch => ({
  policy,
  reference,
  pairs,
  process,
  steps: 20,
  beta: 10,
  clip: 0.1,
  meter,
});
const clearGradients = (): void => {
  for (const parameter of lora.parameters()) parameter.grad = undefined;
};

test("a fresh adapter has the loss ln 2, and a gradient for its up weights only", () => {
  scope(() => {
    const batch = batchOf(pairsOf(4));
    const { loss } = spoBatchLoss(batch);
    expect(loss.item()).toBeCloseTo(Math.LN2, 6);
    backward(loss, batch);
    for (const [name, parameter] of lora.namedParameters()) {
      const size = parameter.grad?.abs().max().item() as number;
      if (name.endsWith("lora.up.weight")) expect(size, name).toBeGreaterThan(0);
      else expect(size, name).toBe(0);
    }
  });
  clearGradients();
});

test("a pair costs two policy passes, two back and two of the reference", () => {
  scope(() => {
    const meter = new WorkMeter();
    const batch = batchOf(pairsOf(5), meter);
    backward(spoBatchLoss(batch).loss, batch);
    const { passes, phases } = meter.take();
    expect(passes).toMatchObject({ unetPolicy: 10, unetBackward: 10, unetReference: 10, unetSampling: 0 });
    expect(Object.keys(phases).sort()).toEqual(["backward", "policy", "reference"]);
  });
  clearGradients();
});

test("pairs that share x_t have the same loss as the same pairs predicted apart", () => {
  scope(() => {
    const pairs = pairsOf(4);
    const apart = {
      ...pairs,
      shared: pairs.shared.map((_, i) => i % 2 === 0),
      latentsLose: pairs.latentsWin.clone(),
    };
    const meter = new WorkMeter();
    noGrad(() => {
      for (const parameter of lora.parameters())
        parameter.add_(randn(parameter.shape, { generator }).mul(0.05));
    });
    const [one, two] = noGrad(() => [spoBatchLoss(batchOf(pairs)), spoBatchLoss(batchOf(apart, meter))]);
    expect(
      two?.perSample
        .sub(one?.perSample as Tensor)
        .abs()
        .max()
        .item(),
    ).toBeLessThan(1e-4);
    expect(meter.take().passes.unetPolicy).toBe(2 * (4 + 2));
  });
});

test("the penalty on norms adds the hinge of the predictions, one a pair where the sides share x_t, with its gradient", () => {
  scope(() => {
    noGrad(() => {
      for (const parameter of lora.parameters())
        parameter.add_(randn(parameter.shape, { generator }).mul(0.05));
    });
    const batch = { ...batchOf(pairsOf(3)), clip: 1e-7 }; // both sides outside: no gradient but the penalty's
    const [plain, held] = [spoBatchLoss(batch), spoBatchLoss({ ...batch, normPenalty: 4 })];
    const outputs = noGrad(() => ({
      own: pairLogProbs(batch, "policy").output.toNumbers(),
      base: pairLogProbs(batch, "reference").output.toNumbers(),
    }));
    const norm = (of: number[], row: number): number => {
      const size = of.length / 3;
      return Math.sqrt(of.slice(row * size, (row + 1) * size).reduce((sum, value) => sum + value ** 2, 0));
    };
    const ratios = [0, 1, 2].map((row) => norm(outputs.own, row) / norm(outputs.base, row));
    for (const [i, ratio] of held.normRatios.toNumbers().entries())
      expect(ratio).toBeCloseTo(ratios[i] as number, 4);
    expect(plain.normRatios.toNumbers()).toEqual(held.normRatios.toNumbers());
    const hinge = ratios.reduce((sum, ratio) => sum + Math.max(0, ratio - 1), 0) / 3;
    expect(hinge).toBeGreaterThan(0);
    expect(held.loss.item() - plain.loss.item()).toBeCloseTo(4 * hinge, 3);
    held.loss.backward();
    expect(lora.parameters().some(({ grad }) => (grad?.abs().max().item() ?? 0) > 0)).toBe(true);
  });
  clearGradients();
});

test("pairs with both sides outside the clip have a gradient of exactly zero", () => {
  scope(() => {
    noGrad(() => {
      for (const parameter of lora.parameters())
        parameter.add_(randn(parameter.shape, { generator }).mul(0.05));
    });
    const batch = { ...batchOf(pairsOf(3)), clip: 1e-7 };
    const { loss, logRatioWin, logRatioLose } = spoBatchLoss(batch);
    expect(ratioFigures(logRatioWin.toNumbers(), logRatioLose.toNumbers(), batch.clip).withoutGradient).toBe(
      1,
    );
    backward(loss, batch);
    for (const parameter of lora.parameters()) expect(parameter.grad?.abs().max().item()).toBe(0);
  });
  clearGradients();
});

test("training on a pair makes its winner likelier against its loser, and a step frees all that it allocates", () => {
  const optimizer = new AdamW(lora.parameters(), { lr: 1e-3 });
  const pairs = scope(() => pairsOf(3));
  const step = (): { margin: number; withoutGradient: number } =>
    scope(() => {
      const batch = batchOf(pairs);
      const { loss, logRatioWin, logRatioLose } = spoBatchLoss(batch);
      const margin = logRatioWin.sub(logRatioLose).mean().item();
      backward(loss, batch);
      optimizer.step();
      optimizer.zeroGrad();
      return { margin, ...ratioFigures(logRatioWin.toNumbers(), logRatioLose.toNumbers(), 0.1) };
    });
  const first = step();
  const before = liveTensors();
  let last = first;
  for (let i = 0; i < 10; i++) last = step();
  expect(liveTensors()).toBe(before);
  expect(last.margin).toBeGreaterThan(first.margin);
  optimizer.dispose();
});

describe("a schedule that bounds x̂0", () => {
  const bounded = new VpSchedule({ clip_sample: true, clip_sample_range: 0.8 });
  const thresholds = new VpSchedule({
    thresholding: true,
    dynamic_thresholding_ratio: 0.9,
    sample_max_value: 1.5,
  });

  test.each([
    ["clip_sample", bounded],
    ["thresholding", thresholds],
  ])("bounds it by %s in the steps that are sampled and in the densities of the loss alike", (_, process) => {
    scope(() => {
      const generator = new Generator(3);
      const draw = (): Tensor => randn([2, 4, 3, 3], { generator });
      const [x, eps] = [draw().mul(3), draw()];
      const [t, steps] = [701, 10];
      const times = { t, previous: process.previousTimestep(t, steps), eta: 1 };
      const plain = new VpSchedule().step(x, eps, times);
      const step = process.step(x, eps, times);
      expect(plain.x0.abs().max().item()).toBeGreaterThan(2);
      expect(step.x0.abs().max().item()).toBeLessThanOrEqual(1.000001);
      // As diffusers' DDIMScheduler: the bounded x̂0, and ε as it was predicted.
      const alphaBarPrev = process.alphaBar(times.previous);
      const std = step.std as number;
      const mean = step.x0
        .mul(Math.sqrt(alphaBarPrev))
        .add(eps, { alpha: Math.sqrt(1 - alphaBarPrev - std ** 2) });
      expect(step.mean.sub(mean).abs().max().item()).toBeLessThan(1e-6);

      const same = { samplePasses: 1, forRows: () => () => eps };
      const next = step.mean.add(draw(), { alpha: std });
      const { win } = pairLogProbs(
        {
          policy: same,
          reference: same,
          pairs: {
            size: 2,
            timesteps: [t, t],
            prompts: [0, 1],
            latentsWin: x,
            latentsLose: x,
            nextWin: next,
            nextLose: next,
            shared: [true, true],
            margins: [1, 1],
            comparisons: [0, 0],
          },
          process,
          steps,
          beta: 1,
          clip: 0.1,
        },
        "policy",
      );
      const wanted = gaussianLogProb(next, step);
      expect(win.sub(wanted).abs().max().item()).toBeLessThan(1e-5);
    });
  });
});

const GRID = { spacing: "training", patch: 2, latentSize: [8, 8] } as const;
const flow = new FlowSchedule({ shift: 3 }, GRID);

test.each<[string, NoiseProcess]>([
  ["of diffusion", process],
  ["of a flow", flow],
  ["of a flow by CPS", flow.forSampling({ stepNoise: "cps" })],
])("the normalised log ratio of a change of the output is the same at each step %s", (_, each) =>
  scope(() => {
    const [steps, eta, change] = [10, 0.7, 0.2];
    const t = each.timesteps(steps).slice(0, -1);
    const previous = t.map((one) => each.previousTimestep(one, steps));
    const outputOf = (by: number): Denoiser => ({
      samplePasses: 1,
      forRows: () => (xt) => xt.mul(0.5).add(by),
    });
    const xt = randn([t.length, 4, 8, 8], { generator: new Generator(1) });
    // What the reference expects to come next: there the policy is less likely by half the square of its change.
    const next = each.step(xt, xt.mul(0.5), { t, previous, eta }).mean;
    const pairs: StepPairs = {
      ...pairsOf(t.length),
      ...{ timesteps: t, latentsWin: xt, latentsLose: xt, nextWin: next, nextLose: next },
    };
    const batch = {
      ...batchOf(pairs),
      policy: outputOf(change),
      reference: outputOf(0),
      process: each,
      steps,
      eta,
    };
    for (const ratio of spoBatchLoss({ ...batch, ratio: "normalised" }).logRatioWin.toNumbers())
      expect(ratio).toBeCloseTo(-(change ** 2) / 2, 3);
    const raw = spoBatchLoss(batch).logRatioWin.toNumbers();
    expect(Math.min(...raw) / Math.max(...raw)).toBeGreaterThan(2);
  }),
);
