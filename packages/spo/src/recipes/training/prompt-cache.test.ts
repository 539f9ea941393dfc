import { mkdtempSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, selectRows, type TextToImage } from "@spo/diffusion";
import { computedPart } from "@spo/records";
import { noGrad, readSafetensors, scope, type Tensor } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOfRun, makeTinyWorld, PROMPTS, type TinyWorld } from "../tiny-world.fixture.js";
import { trainDpo } from "../train-dpo/train-dpo.js";
import { TrainDpoConfig } from "../train-dpo/train-dpo-config.js";
import { trainSpm } from "../train-spm/train-spm.js";
import { TrainSpmConfig } from "../train-spm/train-spm-config.js";
import { trainSpo } from "../train-spo/train-spo.js";
import { TrainSpoConfig } from "../train-spo/train-spo-config.js";
import { PromptCache } from "./prompt-cache.js";

const folder = mkdtempSync(join(tmpdir(), "prompt-cache-"));
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = [16, 16] as const;

/** A pipeline that notes what it encodes. */
function watched(): { pipe: TextToImage; encoded: string[] } {
  const pipe = loadTextToImage(world.model);
  const encoded: string[] = [];
  const encode: TextToImage["encode"] = (prompts, options) => {
    encoded.push(...prompts);
    return pipe.encode(prompts, options);
  };
  return { pipe: { ...pipe, denoiser: pipe.denoiser, family: pipe.family, encode } as TextToImage, encoded };
}

test("gives what the text encoders give, encodes each prompt once, and anew where the encoders' files changed", () => {
  const { pipe, encoded } = watched();
  const at = { pipe, model: world.model, size: SIZE };
  const cache = (): PromptCache => new PromptCache(join(folder, "cache"), at);
  cache().fill([...PROMPTS, PROMPTS[0] as string]);
  expect(encoded).toEqual([...PROMPTS, ""]);
  cache().fill(PROMPTS);
  expect(encoded).toHaveLength(PROMPTS.length + 1);
  noGrad(() =>
    scope(() => {
      const { conditional, unconditional } = pipe.encode(PROMPTS, { size: SIZE });
      const numbers = (of: Readonly<Record<string, Tensor>>) =>
        Object.values(of).map((value) => value.toNumbers());
      const read = cache().read([3, 0, 3].map((place) => PROMPTS[place] as string));
      expect(numbers(read)).toEqual(numbers(selectRows(conditional, [3, 0, 3])));
      expect(numbers(cache().read([null]))).toEqual(numbers(selectRows(unconditional, [0])));
    }),
  );
  const weights = readdirSync(join(world.model, "text_encoder")).find((name) =>
    name.endsWith(".safetensors"),
  );
  utimesSync(join(world.model, "text_encoder", weights as string), 1, 1);
  cache().fill(PROMPTS.slice(0, 2));
  expect(encoded.slice(2 * PROMPTS.length + 1)).toEqual([...PROMPTS.slice(0, 2), ""]);
});

test("keeps each negative prompt's encodings apart, and those of an adapter by its file and strength", () => {
  const { pipe, encoded } = watched();
  const adapter = join(world.model, "model_index.json"); // any file
  const at = { pipe, model: world.model, size: SIZE };
  const cached = (more: object): PromptCache => {
    const cache = new PromptCache(join(folder, "apart"), { ...at, ...more });
    cache.fill(PROMPTS.slice(0, 1));
    return cache;
  };
  const plain = cached({});
  const negative = cached({ negativePrompt: PROMPTS[1] });
  cached({ files: [[adapter, 1]] });
  cached({ files: [[adapter, 0.5]] });
  cached({ files: [[adapter, 0.5]] });
  expect(encoded).toHaveLength(4 * 2);
  noGrad(() =>
    scope(() => {
      const numbers = (of: Readonly<Record<string, Tensor>>) =>
        Object.values(of).map((value) => value.toNumbers());
      const { unconditional } = pipe.encode([""], { size: SIZE, negativePrompt: PROMPTS[1] });
      expect(numbers(negative.read([null]))).toEqual(numbers(unconditional));
      expect(numbers(negative.read([null]))).not.toEqual(numbers(plain.read([null])));
    }),
  );
});

test("SPO with it learns the same bits, and is refused where the text encoders are needed", async () => {
  const train = async (name: string, more: object): Promise<number[]> => {
    const config = TrainSpoConfig.parse({
      ...{
        model: world.model,
        prompts: world.prompts,
        spm: world.spm,
        output: join(folder, name),
        samples: 2,
      },
      ...{ rounds: 1, promptsPerRound: 2, steps: 3, firstBranch: 1, candidates: 2, threshold: 0 },
      ...{ batch: 4, microBatch: 2, guidanceScale: 2, stripEvery: 100, optimizer: { lr: 1e-2 }, ...more },
    });
    await eventsOfRun(join(folder, `${name}-run`), "train spo", config, trainSpo);
    const found = readSafetensors(join(folder, name, "pytorch_lora_weights.safetensors"));
    return [...found.values()].flatMap((value) => value.toNumbers());
  };
  const promptCache = join(folder, "spo-cache");
  const cached = await train("cached", { promptCache });
  expect(cached).toEqual(await train("plain", {}));
  expect(readdirSync(promptCache)).toHaveLength(PROMPTS.length + 1);
  for (const more of [{ textEncoders: true }, { adapter: "full" }])
    await expect(train("refused", { promptCache, ...more })).rejects.toMatchObject({ code: "CONFIG" });
});

test("Diffusion-DPO with it learns the same bits, and is refused where the text encoders are needed", async () => {
  const train = async (name: string, more: object): Promise<number[]> => {
    const config = TrainDpoConfig.parse({
      ...{ model: world.model, pairs: [world.pairs], output: join(folder, name), adapter: "lora" },
      ...{ steps: 1, batch: 2, microBatch: 2, warmup: 0, evalPairs: 0, emptyPrompts: 0.5, ...more },
    });
    await eventsOfRun(join(folder, `${name}-run`), "train dpo", config, trainDpo);
    const found = readSafetensors(join(folder, name, "pytorch_lora_weights.safetensors"));
    return [...found.values()].flatMap((value) => value.toNumbers());
  };
  const promptCache = join(folder, "dpo-cache");
  expect(await train("dpo-cached", { promptCache })).toEqual(await train("dpo-plain", {}));
  expect(readdirSync(promptCache).length).toBeGreaterThan(2);
  await expect(train("dpo-refused", { promptCache, adapter: "full" })).rejects.toMatchObject({
    code: "CONFIG",
  });
});

test("the preference model with it learns the same bits, and one of latents is refused", async () => {
  const train = async (name: string, more: object): Promise<unknown> => {
    const config = TrainSpmConfig.parse({
      ...{ model: world.model, init: world.spm, pairs: [world.pairs], output: join(folder, name) },
      ...{ steps: 1, batch: 2, evalPairs: 2, guidanceScale: 2, ...more },
    });
    const events = await eventsOfRun(join(folder, `${name}-run`), "train spm", config, trainSpm);
    return computedPart(events).filter(({ type }) => type !== "done");
  };
  const promptCache = join(folder, "spm-cache");
  expect(await train("spm-cached", { promptCache })).toEqual(await train("spm-plain", {}));
  expect(readdirSync(promptCache).length).toBeGreaterThan(1);
  await expect(train("spm-refused", { promptCache, kind: "latent" })).rejects.toMatchObject({
    code: "CONFIG",
  });
});
