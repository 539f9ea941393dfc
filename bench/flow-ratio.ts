// What normalised log ratios change in SPO on a flow model: how much of the gradient each step has, and what is learned in a few rounds.
//
// node bench/dist/flow-ratio.js FOLDER [rounds]: of golden values, with tiny-sd3 and its trajectories.
import {
  addLora,
  type FlowConfig,
  FlowSchedule,
  flowGridOf,
  guidedDenoiser,
  loadFlowTransformer,
  openGolden,
  readJsonObject,
} from "@spo/diffusion";
import { AdamW, Generator, noGrad, randn, Scope, scope, type Tensor } from "@spo/torch";
import { drawn, resample, type StepPairs, selectPairs, spoBatchLoss } from "spo";

const STEPS = 10;
const SETTINGS = { steps: STEPS, candidates: 4, firstBranch: 1, lastBranch: 7, etaBefore: 0, threshold: 0.3 };
const LOSS = { steps: STEPS, beta: 10, clip: 0.1 };
const BATCH = 16;

type Ratio = "raw" | "normalised";

/** One training of a fresh adapter, by a judge that wants the first half of the latents' channels larger. */
function train(
  folder: string,
  { ratio, eta, seed, rounds }: { ratio: Ratio; eta: number; seed: number; rounds: number },
) {
  const { get } = openGolden(folder, "trajectory-sd3-flow-euler.safetensors");
  const model = loadFlowTransformer(`${folder}/tiny-sd3`);
  const initial = get("initial_latents");
  const config = readJsonObject(`${folder}/tiny-sd3/scheduler/scheduler_config.json`) as FlowConfig;
  const process = new FlowSchedule(config, {
    ...flowGridOf(model),
    latentSize: initial.shape.slice(2) as [number, number],
  });
  const lora = addLora(
    model,
    { rank: 4, targets: ["to_q", "to_k", "to_v", "to_out.0"] },
    new Generator(seed),
  );
  const side = { context: get("prompt_embeds"), pooled: get("pooled") };
  const sides = { conditional: side, unconditional: side, guidanceScale: 1 };
  const policy = guidedDenoiser({ model, ...sides });
  const reference = guidedDenoiser({ model, ...sides, around: (call) => lora.without(call) });
  const rows = [...Array(initial.shape[0]).keys()];
  const scoreOf = (x0: Tensor): Tensor =>
    scope(() => {
      const [up, down] = x0.chunk(2, 1) as [Tensor, Tensor];
      return up
        .mean([1, 2, 3])
        .sub(down.mean([1, 2, 3]))
        .mul(60);
    });
  const optimizer = new AdamW(lora.parameters(), { lr: 3e-4, weightDecay: 0 });
  const generator = new Generator(seed + 100);
  const roundOf = (): StepPairs =>
    resample({
      ...{ denoiser: policy, process, decode: (latents: Tensor) => latents },
      scorer: { score: ({ x0 }) => scoreOf(x0) },
      initialLatents: randn(initial.shape, { generator }),
      randomness: drawn(generator),
      settings: { ...SETTINGS, eta },
    }).pairs;
  const lossOf = (pairs: StepPairs): Tensor =>
    spoBatchLoss({ policy, reference, pairs, process, ...LOSS, eta, ratio }).loss;
  /** Mean score of samples by the ODE from noises that training does not see. */
  const measure = (): number =>
    noGrad(() =>
      scope(() => {
        let sum = 0;
        for (let n = 0; n < 8; n++) {
          let x = randn(initial.shape, { generator: new Generator(9000 + n) });
          for (const t of process.timesteps(STEPS))
            x = process.step(x, policy.forRows(rows)(x, t), {
              t,
              previous: process.previousTimestep(t, STEPS),
              eta: 0,
            }).mean;
          sum += scoreOf(x).mean().item();
        }
        return sum / 8;
      }),
    );
  /** Norm of the adapter's gradient by the pairs of each step. */
  const gradients = (): number[] => {
    const all = scope(() => resampleMany(roundOf, 6));
    const norms = process.timesteps(STEPS).map((t) => {
      const places = all.flatMap((pairs, part) =>
        pairs.timesteps.flatMap((each, i) => (each === t ? [[part, i] as const] : [])),
      );
      if (places.length === 0) return 0;
      scope(() => {
        for (const [part, i] of places)
          lossOf(selectPairs(all[part] as StepPairs, [i]))
            .div(places.length)
            .backward();
      });
      const norm = Math.sqrt(
        lora
          .parameters()
          .reduce((sum, { grad }) => sum + (grad ? scope(() => grad.square().sum().item()) : 0), 0),
      );
      for (const parameter of lora.parameters()) parameter.grad = undefined;
      return norm;
    });
    const sum = norms.reduce((a, b) => a + b, 0);
    return norms.map((norm) => norm / sum);
  };
  const shares = gradients();
  const before = measure();
  for (let round = 0; round < rounds; round++) {
    using memory = new Scope();
    const pairs = memory.keep(roundOf());
    for (let start = 0; start < pairs.size; start += BATCH) {
      const places = Array.from({ length: Math.min(BATCH, pairs.size - start) }, (_, i) => start + i);
      scope(() => lossOf(selectPairs(pairs, places)).backward());
      optimizer.step();
      optimizer.zeroGrad();
    }
  }
  return { shares, gain: measure() - before };
}

const resampleMany = (round: () => StepPairs, n: number): StepPairs[] => Array.from({ length: n }, round);

const [folder = "", rounds = "30"] = process.argv.slice(2);
for (const eta of [0.7])
  for (const ratio of ["raw", "normalised"] as const) {
    const runs = [1, 2, 3].map((seed) => train(folder, { ratio, eta, seed, rounds: Number(rounds) }));
    const gains = runs.map(({ gain }) => gain);
    console.log(
      JSON.stringify({ ratio, eta, shares: runs[0]?.shares.map((share) => Number(share.toFixed(3))), gains }),
    );
  }
