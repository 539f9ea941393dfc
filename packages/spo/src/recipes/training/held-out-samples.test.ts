// For models ε = w·x_t, whose deterministic samples and drifts can be worked out in float64.
import { type Denoiser, VpSchedule } from "@spo/diffusion";
import { generatorAt, randn, scope, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { type HeldOutInput, heldOutSamples } from "./held-out-samples.js";

const latentShape = [3, 3, 3];
const seed = 7;
const steps = 10;
const schedule = new VpSchedule();
const alphaBar = (t: number): number => schedule.alphaBar(Math.max(t, 0));

const denoiserOf = (weight: number): Denoiser => ({ samplePasses: 1, forRows: () => (xt) => xt.mul(weight) });

const inputOf = (policy: number, reference: number, more: Partial<HeldOutInput> = {}): HeldOutInput => ({
  ...{ policy: denoiserOf(policy), reference: denoiserOf(reference) },
  ...{
    process: schedule,
    decode: (latents: Tensor) => latents.mul(2),
    count: 2,
    latentShape,
    steps,
    seed,
    ...more,
  },
});

const drawn = (what: string, i: number): number[] =>
  scope(() => randn([1, ...latentShape], { generator: generatorAt(seed, what, i) }).toNumbers());

/** DDIM with η = 0 from the draw of a prompt. Source: algorithm 2. */
function sampleOf(weight: number, i: number, what = "held-out sample"): number[] {
  let x = drawn(what, i);
  const stride = 1000 / steps;
  for (let step = 0; step < steps; step++) {
    const t = stride * (steps - 1 - step) + 1;
    const [a, p] = [alphaBar(t), alphaBar(t - stride)];
    x = x.map((value) => {
      const x0 = (value - Math.sqrt(1 - a) * weight * value) / Math.sqrt(a);
      return Math.sqrt(p) * x0 + Math.sqrt(1 - p) * weight * value;
    });
  }
  return x;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
const expectClose = (found: readonly number[], expected: readonly number[]): void => {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of found.entries()) expect(value / (expected[i] as number)).toBeCloseTo(1, 4);
};

test("the base's samples and the policy's are deterministic DDIM from the same noise, and each is told how far it is from the base", () => {
  scope(() => {
    const standing = heldOutSamples(inputOf(0.4, 0.3));
    const samples = {
      policy: [0, 1].map((i) => sampleOf(0.4, i)),
      reference: [0, 1].map((i) => sampleOf(0.3, i)),
    };
    for (const which of ["policy", "reference"] as const)
      expectClose(
        standing(which).images.toNumbers(),
        samples[which].flat().map((x) => 2 * x),
      );
    const apart = samples.policy.flat().map((x, i) => (x - (samples.reference.flat()[i] as number)) ** 2);
    expect(standing("policy").metrics.distance / mean(apart)).toBeCloseTo(1, 3);
    expect(standing("reference").metrics.distance).toBe(0);
  });
});

test("the drift is the mean squared difference of predictions, on the base's samples noised to five timesteps", () => {
  scope(() => {
    const standing = heldOutSamples(inputOf(0.4, 0.3));
    // Five of the schedule's timesteps: stride 200. ε − ε_ref = 0.1·x_t.
    const drifts = [801, 601, 401, 201, 1].map((t) => {
      const a = alphaBar(t);
      const xt = [0, 1].flatMap((i) => {
        const [base, noise] = [sampleOf(0.3, i), drawn(`drift ${t}`, i)];
        return base.map((x, j) => Math.sqrt(a) * x + Math.sqrt(1 - a) * (noise[j] as number));
      });
      return mean(xt.map((x) => (0.1 * x) ** 2));
    });
    expect(standing("policy").metrics.drift / mean(drifts)).toBeCloseTo(1, 4);
    expect(standing("reference").metrics.drift).toBe(0);
  });
});

test("each sample as it is gets a score at timestep 0, and the score is their mean", () => {
  scope(() => {
    const seen: {
      timestep: number;
      rows: readonly number[];
      x0: number[];
      image: number[];
    }[] = [];
    const scorer = {
      score: (
        { x0, timestep, image }: { x0: Tensor; timestep: number; image: () => Tensor },
        rows: readonly number[],
      ) => {
        seen.push({ timestep, rows, x0: x0.toNumbers(), image: image().toNumbers() });
        return x0.mean([1, 2, 3]);
      },
    };
    const standing = heldOutSamples(inputOf(0.4, 0.3, { scorer }));
    const { metrics, scores } = standing("policy");
    const ofEach = [0, 1].map((i) => sampleOf(0.4, i));
    const expected = ofEach.flat();
    expect(metrics.score).toBeCloseTo(mean(expected), 4);
    expectClose(scores ?? [], ofEach.map(mean));
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ timestep: 0, rows: [0, 1] });
    expectClose(
      seen[0]?.image ?? [],
      expected.map((x) => 2 * x),
    );
  });
});

test("without a judge there is no score", () => {
  scope(() => {
    const standing = heldOutSamples(inputOf(0.4, 0.3))("policy");
    expect(standing).not.toHaveProperty("scores");
    expect(standing.metrics).not.toHaveProperty("score");
  });
});

test("held-out scorers are asked of all samples, and their change is told in standard deviations of the base's", () => {
  scope(() => {
    const scorer = { score: ({ x0 }: { x0: Tensor }) => x0.mean([1, 2, 3]) };
    const heldOutScorers = [
      { name: "one", scorer },
      { name: "none", scorer: { score: () => tensor([1, 1]) } },
    ];
    const standing = heldOutSamples(inputOf(0.4, 0.3, { heldOutScorers, imagesPerPrompt: 2 }));
    const of = (which: "policy" | "reference") => standing(which).metrics;
    const firstOfPolicy = [0, 1].map((i) => mean(sampleOf(0.4, i)));
    const [policy, base] = [0.4, 0.3].map((weight) =>
      ["held-out sample", "held-out sample 1"].flatMap((what) =>
        [0, 1].map((i) => mean(sampleOf(weight, i, what))),
      ),
    ) as [number[], number[]];
    expect(policy.slice(0, 2)).toEqual(firstOfPolicy);
    const spread = Math.sqrt(mean(base.map((value) => (value - mean(base)) ** 2)));
    expect(of("policy")["heldOut/one"]).toBeCloseTo(mean(policy), 4);
    expect(of("policy")["heldOut/none"]).toBe(1);
    expect(of("policy").heldOut).toBeCloseTo((mean(policy) - mean(base)) / spread / 2, 3);
    expect(of("reference").heldOut).toBe(0);
    expect(of("policy").diversity).toBeGreaterThan(0);
  });
});

test("norms are told by timestep, and looks and norms of the base are its own", () => {
  scope(() => {
    const standing = heldOutSamples(inputOf(0.4, 0.3));
    const { metrics } = standing("policy");
    for (const t of [801, 601, 401, 201, 1]) expect(metrics[`norm/t=${t}`]).toBeCloseTo(4 / 3, 5);
    const base = standing("reference").metrics;
    for (const name of ["norm/t=801", "saturation", "contrast", "highFrequency"]) expect(base[name]).toBe(1);
    expect(metrics).not.toHaveProperty("heldOut");
    expect(metrics).not.toHaveProperty("diversity");
  });
});
