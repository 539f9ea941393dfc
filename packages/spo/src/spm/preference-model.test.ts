// What every kind of preference model keeps to.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import { clipProcessor } from "@spo/scorers";
import { Generator, initialize, noGrad, randn, scope, tensor } from "@spo/torch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTinyWorld, type TinyWorld } from "../recipes/tiny-world.fixture.js";
import { TINY_SPM } from "../tiny-models.fixture.js";
import { saveTinyDina, saveTinySd3 } from "../tiny-sd3.fixture.js";
import { DinaPreferenceModel } from "./dina-preference-model.js";
import { openPreferenceModel, startPreferenceModel } from "./open-preference-model.js";
import {
  comparesVectors,
  joinTexts,
  type PreferenceModel,
  type Sight,
  textRows,
  toDtype,
} from "./preference-model.js";
import { initializeTimeConditioning, StepAwarePreferenceModel, saveSpm } from "./spm.js";

let folder: string;
let world: TinyWorld;
let flow: { model: string; dina: string };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-preference-model-"));
  world = await makeTinyWorld(join(folder, "world"));
  flow = { model: join(folder, "sd3"), dina: join(folder, "dina") };
  saveTinySd3(flow.model);
  saveTinyDina(flow.dina);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PROMPTS = ["red apple", "blue fish"];

function sights(): Sight {
  const generator = new Generator(4);
  const image = randn([3, 3, 16, 16], { generator });
  return { xt: randn([3, 4, 8, 8], { generator }), image: () => image };
}

/** Scores of three samples, the second prompt's first. */
const scoresOf = (model: PreferenceModel, t: number): number[] =>
  noGrad(() =>
    scope(() => model.score(model.look(sights()), t, textRows(model.encode(PROMPTS), [1, 0, 1])).toNumbers()),
  );

test("a start that is not there says what a latent one can start from", () => {
  const start = (): unknown =>
    startPreferenceModel(join(folder, "absent"), loadTextToImage(world.model), new Generator(0), {
      kind: "latent",
    });
  expect(start).toThrow(/absent does not exist/);
});

describe.each([
  ["one that looks at images", () => [world.spm, world.model]],
  ["one that looks at latents", () => [world.lrm, world.model]],
  ["one that looks at a flow's latents", () => [flow.dina, flow.model]],
] as [string, () => [path: string, model: string]][])("%s", (_, places) => {
  const pipe = (): TextToImage => loadTextToImage(places()[1]);
  const open = (from = places()[0]): PreferenceModel => openPreferenceModel(from, pipe());

  test("what it writes opens as the same kind, with the same scores, whether to judge or to be trained", () => {
    const model = open();
    const saved = mkdtempSync(join(folder, "saved-"));
    model.save(saved);
    const again = open(saved);
    expect(again.constructor).toBe(model.constructor);
    expect(again.scale).toBe(model.scale);
    for (const t of [0, 501]) expect(scoresOf(again, t)).toEqual(scoresOf(model, t));
    if (model instanceof DinaPreferenceModel) {
      expect(() => startPreferenceModel(saved, pipe(), new Generator(9))).toThrow(
        /judges here and is not trained/,
      );
      return;
    }
    const started = startPreferenceModel(saved, pipe(), new Generator(9));
    for (const t of [0, 501]) expect(scoresOf(started, t)).toEqual(scoresOf(model, t));
  });

  test("a score depends on its sample, its prompt and its timestep, and on no other sample", () => {
    const model = open();
    initialize(model.module, new Generator(6)); // before any training it does not look at the timestep
    const together = scoresOf(model, 501);
    const alone = noGrad(() =>
      scope(() => {
        const input = model.look(sights());
        const texts = model.encode(PROMPTS);
        const timesteps = tensor([501], { dtype: "int64" });
        return [1, 0, 1].map((prompt, i) =>
          model.score(input.narrow(0, i, 1), timesteps, textRows(texts, [prompt])).item(),
        );
      }),
    );
    for (const [i, score] of alone.entries()) expect(together[i]).toBeCloseTo(score, 4);
    expect(new Set(together.map((score) => score.toFixed(4))).size).toBe(3);
    expect(scoresOf(model, 1)).not.toEqual(together);
  });

  test("where it compares vectors, a score is its scale times the cosine of the sample's and its text's", () => {
    const model = open();
    if (!comparesVectors(model)) return;
    initialize(model.module, new Generator(6));
    model.setScale(7);
    const cosines = noGrad(() =>
      scope(() => {
        const texts = textRows(model.encode(PROMPTS), [1, 0, 1]);
        const images = model.imageVectors(model.look(sights()), 501, texts);
        expect(images.shape).toEqual([3, model.width]);
        return images.mul(model.textVectors(texts)).sum(-1).toNumbers();
      }),
    );
    for (const [i, score] of scoresOf(model, 501).entries())
      expect(score).toBeCloseTo(7 * (cosines[i] as number), 4);
  });

  test("in half precision the scale of its scores is the same, and they are float32 and near", () => {
    const model = open();
    const exact = scoresOf(model, 501);
    const { scale } = model;
    toDtype(model.module, "bfloat16");
    expect(model.dtype).toBe("bfloat16");
    expect(model.scale).toBe(scale);
    const found = scoresOf(model, 501);
    expect(found).not.toEqual(exact);
    for (const [i, score] of found.entries())
      expect(Math.abs(score - (exact[i] as number))).toBeLessThan(0.03 * scale);
  });

  test("rows of prompts can be taken and joined", () =>
    noGrad(() =>
      scope(() => {
        const texts = open().encode(PROMPTS);
        const joined = joinTexts([textRows(texts, [1, 1]), texts]);
        for (const [name, text] of Object.entries(joined)) {
          const rows = (texts[name] as typeof text).unbind().map((row) => row.reshape([-1]).toNumbers());
          expect(text.unbind().map((row) => row.reshape([-1]).toNumbers())).toEqual([
            rows[1],
            rows[1],
            rows[0],
            rows[1],
          ]);
        }
      }),
    ));
});

test("one that reads another model's tokens is refused, with both numbers", () => {
  const other = join(folder, "other-tokens");
  const spm = new StepAwarePreferenceModel(TINY_SPM);
  initialize(spm, new Generator(2));
  initializeTimeConditioning(spm, new Generator(2));
  saveSpm(other, spm, clipProcessor(16));
  const pipe = loadTextToImage(world.model);
  const { vocab_size } = TINY_SPM.text_config;
  expect(() => openPreferenceModel(other, pipe)).toThrow(
    new RegExp(`other-tokens reads ${vocab_size} tokens.*tokenizer has ${pipe.tokenizer?.vocabSize},`),
  );
});
