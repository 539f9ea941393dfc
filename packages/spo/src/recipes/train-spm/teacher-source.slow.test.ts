// A latent model that learns from another preference model.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPairSet, readRows } from "@spo/data";
import { pixelsFromBytes } from "@spo/data/pixels";
import { guidedDenoiser, loadTextToImage } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { cat, Generator, generatorAt, liveTensors, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openPreferenceModel, startPreferenceModel } from "../../spm/open-preference-model.js";
import type { PreferenceModel, VectorModel } from "../../spm/preference-model.js";
import { eventsOfRun, makeTinyWorld, stepMetrics, type TinyWorld } from "../tiny-world.fixture.js";
import { LatentPairNoiser } from "./latent-pair-noiser.js";
import type { NoisedPairs, VectorSpread } from "./noised-pairs.js";
import { teacherSource } from "./teacher-source.js";
import { trainSpm } from "./train-spm.js";
import { TrainSpmConfig } from "./train-spm-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-teacher-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let runs = 0;
const configOf = (settings: object): TrainSpmConfig & { teacher: string } =>
  TrainSpmConfig.parse({
    ...{ model: world.model, teacher: world.spm, prompts: world.prompts, output: join(folder, `${runs++}`) },
    ...{ steps: 2, batch: 8, warmup: 0, optimizer: { lr: 1e-3 }, evalPairs: 0, noiseLevels: 3 },
    ...{ candidates: 3, guidanceScale: 2, distill: "preferences", ...settings },
  }) as TrainSpmConfig & { teacher: string };

async function train(settings: object) {
  const config = configOf(settings);
  const events = await eventsOfRun(`${config.output}-run`, "train spm", config, trainSpm);
  return {
    output: config.output,
    metrics: stepMetrics(events),
    evals: events.flatMap((event) => (event.type === "eval" ? [event.metrics] : [])),
  };
}

/** A student's source, and the pairs of its first step with a bank of one rollout. */
async function sourceOf(
  { width, ...settings }: { width?: number } & Record<string, unknown>,
  meter = new WorkMeter(),
) {
  const config = configOf({ bank: 1, batch: 400, ...settings });
  const pipe = loadTextToImage(world.model);
  const model = startPreferenceModel(null, pipe, new Generator(0), { kind: "latent", width });
  const teacher = openPreferenceModel(config.teacher, pipe);
  const source = await teacherSource(config, { pipe, model, teacher, side: 16, meter });
  for await (const _ of source.prepare());
  const pairs = (await source.pairsOf(0).read(0, config.batch))();
  return { source, pairs, pipe, model, teacher };
}

test("pairs are samples of one prompt at one noise level, and their label is σ of the teacher's scores of them", async () => {
  const meter = new WorkMeter();
  const { source, pairs, pipe } = await sourceOf({ noiseLevels: 3 }, meter);
  // 4 prompts, 2 histories each, 3 children; the children of all but the last step are predicted.
  const [histories, children] = [8, 8 * 3];
  expect(meter.take().passes).toMatchObject({
    unetSampling: 2 * (histories + 2 * children),
    vaeDecode: 3 * children,
    judgeImage: 3 * children,
  });
  expect(new Set(pairs.timesteps.toNumbers())).toEqual(new Set([334, 1, 0]));
  // Of finished samples the teacher's own scores are known: they are decoded as they are.
  const teacher = openPreferenceModel(world.spm, pipe);
  const score = (side: "side0" | "side1", row: number): number =>
    noGrad(() =>
      scope(() => {
        const xt = (pairs as NoisedPairs)[side].narrow(0, row, 1);
        const texts = teacher.encode([pairs.prompts[row] as string]);
        return teacher.score(teacher.look({ xt, image: () => pipe.vae.decodeLatents(xt) }), 0, texts).item();
      }),
    );
  const clean = pairs.timesteps.toNumbers().flatMap((t, row) => (t === 0 ? [row] : []));
  expect(clean.length).toBeGreaterThan(20);
  for (const row of clean.slice(0, 20)) {
    const gap = score("side0", row) - score("side1", row);
    expect(pairs.label0[row]).toBeCloseTo(1 / (1 + Math.exp(-gap)), 4);
  }
  expect(pairs.label0.some((label) => label < 0.5)).toBe(true); // of two histories either may be the better
  await source.close();
});

test("what is drawn depends on the seed alone, and everything is freed", async () => {
  const sides = async (seed: number): Promise<number[]> => {
    const { source, pairs } = await sourceOf({ seed });
    const numbers = pairs.side0.toNumbers();
    for (const tensor of [pairs.side0, pairs.side1, pairs.timesteps]) (tensor as Tensor).dispose();
    await source.close();
    return numbers;
  };
  const first = await sides(0);
  expect(await sides(0)).toEqual(first);
  expect(await sides(1)).not.toEqual(first);
  const { source } = await sourceOf({});
  const before = liveTensors();
  await source.close();
  expect(before - liveTensors()).toBe(3);
});

test("a student learns to order the teacher's samples as it does, and the agreement is told by timestep", async () => {
  const { metrics, evals, output } = await train({
    steps: 30,
    bank: 1,
    evalPairs: 20,
    evalEvery: 30,
    batch: 16,
  });
  const mean = (from: number): number =>
    metrics.slice(from, from + 5).reduce((sum, { loss }) => sum + (loss as number) / 5, 0);
  expect(mean(25)).toBeLessThan(mean(0));
  const right = metrics.slice(-5).reduce((sum, { accuracy }) => sum + (accuracy as number) / 5, 0);
  expect(right).toBeGreaterThan(0.7);
  expect(evals.map((each) => Object.keys(each))).toEqual(
    Array(2).fill(["accuracy/t=0", "accuracy/t=1", "accuracy/t=334"]),
  );
  const opened: PreferenceModel = openPreferenceModel(output, loadTextToImage(world.model));
  expect(opened.sees).toBe("latents");
});

test("siblings are pairs with the teacher's unit vectors of them, where vectors are learned", async () => {
  const { source, pairs, pipe, model, teacher } = await sourceOf({
    ...{ distill: "vectors", candidates: 4, width: 8 },
  });
  const [vector0, vector1] = [pairs.vector0 as Tensor, pairs.vector1 as Tensor];
  const { width } = teacher as VectorModel;
  expect(vector0.shape).toEqual([400, width]);
  // 8 histories, 2 pairs of each, at three noise levels: 48 pairs in the bank.
  expect(new Set(pairs.side0.reshape([400, -1]).select(1, 0).toNumbers()).size).toBeLessThanOrEqual(48);
  const clean = pairs.timesteps.toNumbers().flatMap((t, row) => (t === 0 ? [row] : []));
  expect(clean.length).toBeGreaterThan(20);
  const seen = (xt: Tensor): number[] =>
    noGrad(() =>
      scope(() => {
        const input = teacher.look({ xt, image: () => pipe.vae.decodeLatents(xt) });
        return (teacher as VectorModel).imageVectors(input, 0, teacher.encode(["red fox"])).toNumbers();
      }),
    );
  for (const row of clean.slice(0, 10))
    for (const [side, vectors] of [
      [pairs.side0, vector0],
      [pairs.side1, vector1],
    ] as const) {
      const found = seen(side.narrow(0, row, 1));
      const kept = vectors.select(0, row).toNumbers();
      for (const [i, value] of found.entries()) expect(kept[i]).toBeCloseTo(value, 4);
    }
  expect(model.scale).toBeCloseTo(teacher.scale, 4);
  await source.close();
});

describe("images beside the samples", () => {
  const taught = { distill: "vectors", candidates: 4, width: 8, batch: 20, imageShare: 0.4, noiseLevels: 3 };
  const withPairs = (settings: object = {}) => ({ ...taught, pairs: [world.pairs], ...settings });

  /** The teacher's vectors of both images of every pair of the training split, as they are, by prompt. */
  async function vectorsOfImages(teacher: PreferenceModel): Promise<Map<string, number[][]>> {
    const set = await openPairSet([world.pairs], { split: "train" });
    const rows = Array.from({ length: set.size }, (_, row) => row);
    const read = [...(await readRows(set, rows, { side: 16, kernel: "bicubic" })).values()];
    await set.close();
    const found = new Map<string, number[][]>();
    for (const { prompt, image0, image1 } of read) {
      const vectors = noGrad(() =>
        scope(() => {
          const image = cat([image0, image1].map((bytes) => pixelsFromBytes(bytes, 16)));
          const input = teacher.look({ xt: image, image: () => image });
          const texts = teacher.encode([prompt, prompt]);
          return (teacher as VectorModel).imageVectors(input, 0, texts).toNumbers();
        }),
      );
      found.set(prompt, [...(found.get(prompt) ?? []), vectors]);
    }
    return found;
  }

  test.each([
    ["kept", 12],
    ["read anew", 0],
  ])("are a share of a step, with the teacher's vectors of them without noise: %s", async (_, bank) => {
    const { source, pairs, teacher } = await sourceOf(withPairs({ bank }));
    const known = await vectorsOfImages(teacher);
    const [vector0, vector1] = [pairs.vector0 as Tensor, pairs.vector1 as Tensor];
    for (let row = 12; row < 20; row++) {
      const found = [vector0, vector1].flatMap((side) => side.select(0, row).toNumbers());
      const apart = (known.get(pairs.prompts[row] as string) ?? []).map((vectors) =>
        Math.max(...vectors.map((value, i) => Math.abs(value - (found[i] as number)))),
      );
      expect(Math.min(...apart)).toBeLessThan(1e-5);
    }
    const timesteps = pairs.timesteps.toNumbers();
    expect(timesteps.slice(12).every((t) => [1, 334, 667].includes(t))).toBe(true);
    expect(new Set(timesteps.slice(12)).size).toBeGreaterThan(1);
    // Each kind by its own spread: of images that of all their vectors.
    const spreads = pairs.spread as VectorSpread[];
    expect(new Set(spreads.slice(0, 12)).size).toBe(1);
    expect(new Set(spreads.slice(12)).size).toBe(1);
    const all = [...known.values()].flat();
    const gaps = all.flatMap((both) =>
      both.slice(0, 8).map((value, i) => (value - (both[8 + i] as number)) ** 2),
    );
    const differences = gaps.reduce((sum, gap) => sum + gap / gaps.length, 0);
    expect((spreads[19] as VectorSpread).differences / differences).toBeCloseTo(1, 4);
    expect((spreads[0] as VectorSpread).differences).not.toBeCloseTo(differences, 4);
    await source.close();
  });

  /** Unit vectors of pixels or of latents, as the teacher sees them. */
  const seenBy = (teacher: PreferenceModel, image: Tensor): number[] => {
    const input = teacher.look({ xt: image, image: () => image });
    return (teacher as VectorModel).imageVectors(input, 0, teacher.encode(["red fox"])).toNumbers();
  };
  const farthest = (one: readonly number[], other: readonly number[]): number =>
    Math.max(...one.map((value, i) => Math.abs(value - (other[i] as number))));

  test.each([
    ["kept", 30, 0],
    ["read anew", 0, 0.5],
  ])(
    "as the base predicts them have the teacher's vectors of what their own noise leaves: %s",
    async (_, bank, cleanShare) => {
      const settings = { bank, cleanShare, imageTarget: "predicted", guidanceScale: 2 };
      const { source, pairs, pipe, teacher } = await sourceOf(withPairs(settings));
      const timesteps = pairs.timesteps.toNumbers();
      for (let row = 12; row < 20; row++) {
        const t = timesteps[row] as number;
        for (const [side, vectors] of [
          [pairs.side0, pairs.vector0],
          [pairs.side1, pairs.vector1],
        ] as [Tensor, Tensor][]) {
          const found = noGrad(() =>
            scope(() => {
              const noisy = side.narrow(0, row, 1);
              const conditions = pipe.encode([pairs.prompts[row] as string], { size: [16, 16] });
              const model = guidedDenoiser({ model: pipe.denoiser, ...conditions, guidanceScale: 2 });
              const output = model.forRows([0])(noisy, tensor([t]));
              const x0 = t === 0 ? noisy : pipe.process.predict(noisy, output, [t]).x0;
              return seenBy(teacher, pipe.vae.decodeLatents(x0));
            }),
          );
          expect(farthest(vectors.select(0, row).toNumbers(), found)).toBeLessThan(1e-4);
        }
      }
      expect(new Set(timesteps.slice(12)).size).toBeGreaterThan(1);
      expect(timesteps.slice(12).includes(0)).toBe(cleanShare > 0);
      await source.close();
    },
  );

  test("are mirrored as pairs, for the teacher and the student alike, and recoloured one by one", async () => {
    const turned = join(folder, "turned"); // the halves of each picture side by side
    mkdirSync(turned);
    for (const name of readdirSync(world.pairs))
      if (name.endsWith(".png")) await sharp(join(world.pairs, name)).rotate(90).toFile(join(turned, name));
      else copyFileSync(join(world.pairs, name), join(turned, name));
    const settings = { pairs: [turned], bank: 0, cleanShare: 1, batch: 40 };
    const mirroring = { colour: 0, scale: 0, shift: 0 };
    const { source, pairs, pipe, model, teacher } = await sourceOf(
      withPairs({ ...settings, augmentation: mirroring }),
    );
    const set = await openPairSet([turned], { split: "train" });
    const places = Array.from({ length: set.size }, (_, row) => row);
    const read = [...(await readRows(set, places, { side: 16, kernel: "bicubic" })).values()];
    await set.close();
    const noiser = new LatentPairNoiser(pipe, model, { ...configOf({ cleanShare: 1 }), side: 16 });
    const mirrored = new Set<boolean>();
    noGrad(() =>
      scope(() => {
        const known = read.flatMap(({ image0, image1 }) =>
          [false, true].map((flipped) => {
            const images = [image0, image1].map((bytes) => {
              const pixels = pixelsFromBytes(bytes, 16);
              return flipped ? pixels.flip([3]) : pixels;
            });
            return { flipped, images, vectors: images.map((image) => seenBy(teacher, image)) };
          }),
        );
        for (let row = 24; row < 40; row++) {
          const found = [pairs.vector0, pairs.vector1].map((of) => (of as Tensor).select(0, row).toNumbers());
          const same = known.find(({ vectors }) =>
            vectors.every((vector, side) => farthest(vector, found[side] as number[]) < 1e-4),
          );
          expect(same).toBeDefined();
          const { noises } = noiser.draw(1, generatorAt(0, "image", row - 24));
          for (const [i, side] of [pairs.side0, pairs.side1].entries()) {
            const latents = pipe.vae.toLatents(same?.images[i] as Tensor, noises[`posterior${i}`] as Tensor);
            expect(farthest(side.select(0, row).reshape([-1]).toNumbers(), latents.toNumbers())).toBeLessThan(
              1e-3,
            );
          }
          mirrored.add(same?.flipped as boolean);
        }
      }),
    );
    expect(mirrored.size).toBe(2);
    await source.close();

    const coloured = await sourceOf(withPairs({ ...settings, augmentation: { ...mirroring, colour: 0.5 } }));
    const plain = [pairs, coloured.pairs].map(({ vector0 }) =>
      (vector0 as Tensor).narrow(0, 24, 16).toNumbers(),
    );
    expect(farthest(plain[0] as number[], plain[1] as number[])).toBeGreaterThan(1e-3);
    await coloured.source.close();
  });

  test.each([
    [{}, 10],
    [{ augmentation: {} }, 30],
    [{ imageTarget: "predicted" }, 30],
  ])("are kept as often as they differ, with %j", async (settings, kept) => {
    const { width, ...rest } = withPairs({ bank: 30, ...settings });
    const config = configOf(rest);
    const pipe = loadTextToImage(world.model);
    const model = startPreferenceModel(null, pipe, new Generator(0), { kind: "latent", width });
    const teacher = openPreferenceModel(config.teacher, pipe);
    const source = await teacherSource(config, { pipe, model, teacher, side: 16, meter: new WorkMeter() });
    const totals = new Set<number>();
    for await (const { total } of source.prepare()) totals.add(total);
    expect([...totals]).toEqual([30 + kept]);
    await source.close();
  });

  test("of one step depend on the seed and the step alone; in parts they are the same", async () => {
    const steps = async (wanted: readonly number[]) => {
      const { source } = await sourceOf(withPairs({ bank: 12, evalPairs: 0 }));
      const found: number[][] = [];
      for (const step of wanted) {
        const read = source.pairsOf(step);
        const parts = [(await read.read(0, 15))(), (await read.read(15, 5))()];
        found.push(
          parts.flatMap(({ side0, vector1 }) => [side0, vector1 as Tensor].flatMap((x) => x.toNumbers())),
        );
      }
      const whole = (await source.pairsOf(1).read(0, 20))();
      await source.close();
      return { found, whole: whole.side1.toNumbers() };
    };
    const [both, second] = [await steps([0, 1]), await steps([1])];
    expect(second.found[0]).toEqual(both.found[1]);
    expect(second.whole).toEqual(both.whole);
    expect(both.found[0]).not.toEqual(both.found[1]);
  });

  test("leave nothing in memory", async () => {
    const { source, pairs } = await sourceOf(withPairs({ bank: 12 }));
    const models = liveTensors();
    for (const tensor of [pairs.side0, pairs.side1, pairs.timesteps, pairs.vector0, pairs.vector1])
      (tensor as Tensor).dispose();
    await source.close();
    // 5 of the batch, 5 of the samples, 5 of the kept images, and the texts.
    expect(models - liveTensors()).toBe(16);
  });

  test("by preferences have the label that the teacher's scores of them give", async () => {
    const { source, pairs, teacher } = await sourceOf(withPairs({ distill: "preferences", bank: 12 }));
    const known = await vectorsOfImages(teacher);
    const scale = teacher.scale;
    for (let row = 12; row < 20; row++) {
      const prompt = pairs.prompts[row] as string;
      const text = noGrad(() =>
        scope(() => (teacher as VectorModel).textVectors(teacher.encode([prompt])).toNumbers()),
      );
      const score = (vector: readonly number[]): number =>
        scale * vector.reduce((sum, value, i) => sum + value * (text[i] as number), 0);
      const labels = (known.get(prompt) ?? []).map(
        (both) => 1 / (1 + Math.exp(score(both.slice(8)) - score(both.slice(0, 8)))),
      );
      const apart = labels.map((label) => Math.abs(label - (pairs.label0[row] as number)));
      expect(Math.min(...apart)).toBeLessThan(1e-4);
    }
    await source.close();
  });

  test("are learned from", async () => {
    const { width: _, ...settings } = withPairs({ bank: 1, steps: 30 });
    const { metrics } = await train(settings);
    const mean = (from: number): number =>
      metrics.slice(from, from + 5).reduce((sum, { loss }) => sum + (loss as number) / 5, 0);
    expect(mean(25)).toBeLessThan(0.7 * mean(0));
  });
});

test("a student of vectors comes to order siblings as the teacher, with far less data than by preferences", async () => {
  const { metrics, evals } = await train({
    ...{ steps: 40, bank: 1, evalPairs: 20, evalEvery: 40, batch: 16, distill: "vectors" },
  });
  const mean = (from: number): number =>
    metrics.slice(from, from + 5).reduce((sum, { loss }) => sum + (loss as number) / 5, 0);
  expect(mean(35)).toBeLessThan(0.5 * mean(0));
  expect(evals.map((each) => Object.keys(each))).toEqual(
    Array(2).fill(["accuracy/t=0", "accuracy/t=1", "accuracy/t=334"]),
  );
});

test("without a bank each window of steps has rollouts of its own, which a repeated run draws again", async () => {
  const settings = { steps: 3, optimizer: { lr: 1e-12 }, batch: 150 }; // a window has some 36 × 4 pairs: one step
  const losses = async (): Promise<unknown[]> => (await train(settings)).metrics.map(({ loss }) => loss);
  const first = await losses();
  expect(new Set(first).size).toBe(3);
  expect(await losses()).toEqual(first);
});

test("measures on held-out prompts, where they are given", async () => {
  const path = join(folder, "held-out.txt");
  writeFileSync(path, "purple house\n");
  const one = await train({ steps: 1, evalPairs: 1, bank: 1 });
  const other = await train({ steps: 1, evalPairs: 1, bank: 1, heldOut: path });
  expect(other.metrics).toEqual(one.metrics);
  expect(Object.keys(other.evals[0] ?? {})).toEqual(Object.keys(one.evals[0] ?? {}));
});

test.each([
  [{ kind: "pixel", init: "spm" }, /a preference model that looks at latents/],
  [{ prompts: null }, /prompts is missing/],
  [
    { pairs: ["p"], imageShare: 0.05 },
    /a share of 0\.05 \(imageShare\) are 0 pairs of images: the pairs teach/,
  ],
  [{ pairs: ["p"], imageShare: 0.95 }, /are 8 pairs of images: no sample of the base is left/],
  [{ pairs: ["nowhere"] }, /nowhere/],
  [{ augmentation: {} }, /augmentation and pixelNoise change pixels/],
  [{ pairs: ["nowhere"], pixelNoise: 0.1 }, /augmentation and pixelNoise change pixels/],
  [{ relabel: {} }, /With a teacher there are no labels/],
])("is refused with settings %j", async (settings, message) => {
  const init = "init" in settings ? { init: world.spm } : {};
  await expect(train({ ...settings, ...init })).rejects.toThrow(message);
});

test("vectors cannot be learned by a student whose own are of another width", async () => {
  await expect(sourceOf({ distill: "vectors", width: 6 })).rejects.toThrow(
    /the student's have 6 numbers, the teacher's 8/,
  );
});

test("without a teacher pairs are needed", async () => {
  await expect(train({ teacher: null, kind: "latent" })).rejects.toThrow(/pairs is missing/);
});
