import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type StableDiffusion, UNet2DConditionModel, VpSchedule } from "@spo/diffusion";
import {
  Generator,
  initialize,
  keep,
  noGrad,
  openSafetensors,
  randn,
  readSafetensors,
  scope,
  type Tensor,
} from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { TINY } from "../../tiny-models.fixture.js";
import { makePolicy, type PolicySettings } from "./policy.js";
import { Precision } from "./precision.js";

const folder = mkdtempSync(join(tmpdir(), "spo-policy-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function policyOf(settings: Partial<PolicySettings>, process = new VpSchedule()) {
  const unet = new UNet2DConditionModel(TINY.sd15.unet);
  initialize(unet, new Generator(1));
  const saved: string[] = [];
  const pipe = {
    denoiser: unet,
    models: { unet },
    family: { denoiser: "unet" },
    process,
    save: (to: string) => saved.push(to),
  } as unknown as StableDiffusion;
  const precision = new Precision(
    { dtype: "float32", gradientCheckpointing: false, memoryFormat: null },
    {
      denoiser: unet,
      vae: unet,
    },
  );
  return {
    unet,
    policy: makePolicy(
      pipe,
      {
        adapter: "lora",
        rank: 2,
        alpha: null,
        targets: null,
        textEncoders: false,
        ema: 0,
        seed: 1,
        ...settings,
      },
      precision,
    ),
  };
}

const set = (parameters: readonly Tensor[], value: number): void =>
  noGrad(() => {
    for (const parameter of parameters) parameter.fill_(value);
  });

/** The one value that all of a saved LoRA's up weights have. */
function savedValue(name: string): number {
  const values = [...readSafetensors(join(folder, name, "pytorch_lora_weights.safetensors"))]
    .filter(([key]) => /lora_B|lora\.up/.test(key))
    .flatMap(([, value]) => value.toNumbers());
  expect(new Set(values).size).toBe(1);
  return values[0] as number;
}

describe.each(["lora", "full"] as const)("what learns: %s", (adapter) => {
  test("policy and reference are equal before the first update, and then the reference stays the base", () => {
    const generator = new Generator(2);
    const { policy } = policyOf({ adapter });
    scope(() => {
      const context = randn([1, 5, 12], { generator });
      const conditions = { conditional: { context }, unconditional: { context: context.mul(0.5) } };
      const x = randn([1, 4, 8, 8], { generator });
      const denoisers = policy.denoisers(conditions, 3, () => conditions);
      const predict = (which: "policy" | "reference"): number[] =>
        noGrad(() => denoisers[which].forRows([0])(x, 401).toNumbers());
      const base = predict("policy");
      expect(predict("reference")).toEqual(base);
      noGrad(() => {
        for (const parameter of policy.trained)
          parameter.add_(randn(parameter.shape, { generator }), { alpha: 0.1 });
      });
      expect(predict("reference")).toEqual(base);
      expect(predict("policy")).not.toEqual(base);
    });
  });

  test("the average is the result, and the weights that learn are put back", () => {
    const width = 0.2;
    const { policy } = policyOf({ adapter, ema: width });
    // Step i counts (i/n)^γ − ((i − 1)/n)^γ… as γ + 1 has it: after two steps, the first one (1/2)^(γ + 1). γ by its width.
    const widthOf = (power: number): number => Math.sqrt(power + 1) / ((power + 2) * Math.sqrt(power + 3));
    let power = 0;
    while (widthOf(power) > width) power += 1e-5;
    set(policy.trained, 1);
    policy.updateEma(0);
    set(policy.trained, 5);
    policy.updateEma(1);
    set(policy.trained, 9);
    const share = 0.5 ** (power + 1);
    const expected = share * 1 + (1 - share) * 5;
    const read = (): number => policy.trained[0]?.flatten().toNumbers()[0] as number;
    expect(policy.withEmaWeights(read)).toBeCloseTo(expected, 4);
    expect(read()).toBe(9);
    expect(() =>
      policy.withEmaWeights(() => {
        throw new Error("in between");
      }),
    ).toThrow("in between");
    expect(read()).toBe(9);
  });
});

test("the saved LoRA is the average where there is one, and else the last weights", () => {
  const averaged = policyOf({ ema: 0.2 }).policy;
  set(averaged.trained, 1);
  averaged.updateEma(0);
  set(averaged.trained, 5);
  averaged.save(join(folder, "averaged"), { layout: "diffusers" });
  expect(savedValue("averaged")).toBe(1);
  const plain = policyOf({}).policy;
  set(plain.trained, 1);
  plain.updateEma(0);
  set(plain.trained, 5);
  plain.save(join(folder, "plain"), { layout: "diffusers" });
  expect(savedValue("plain")).toBe(5);
});

test("the average is saved in a checkpoint, beside the weights", () => {
  const { policy } = policyOf({ ema: 0.2 });
  keep(policy.trained);
  set(policy.trained, 3);
  policy.updateEma(0);
  const { average, policy: learned } = policy.modules;
  const [name, value] = [...(average?.namedParameters() ?? [])][0] as [string, Tensor];
  expect(value.flatten().toNumbers()[0]).toBe(3);
  expect(learned.namedParameters().has(name)).toBe(true);
});

test.each([
  ["epsilon", "epsilon"],
  ["v_prediction", "v"],
] as const)("a LoRA of a model that predicts %s says so", (prediction_type, said) => {
  const { policy } = policyOf({}, new VpSchedule({ prediction_type }));
  policy.save(join(folder, said), { layout: "diffusers" });
  using file = openSafetensors(join(folder, said, "pytorch_lora_weights.safetensors"));
  expect(file.metadata["modelspec.prediction_type"]).toBe(said);
});

describe("a policy's LoRA", () => {
  test("lies over the named layers alone, and its strength is alpha over rank", () => {
    const { policy, unet } = policyOf({ alpha: 1, targets: ["to_q", "ff.net.2"] });
    const names = [...policy.modules.policy.namedParameters().keys()].filter((name) => name.includes(".up."));
    const adapted = [...unet.modules().keys()].filter((name) => /\.(to_q|ff\.net\.2)$/.test(name));
    expect(names).toEqual(adapted.map((name) => `${name}.lora.up.weight`));
    policy.save(join(folder, "half"), { layout: "kohya" });
    const saved = readSafetensors(join(folder, "half", "pytorch_lora_weights.safetensors"));
    const alphas = [...saved].filter(([name]) => name.endsWith(".alpha")).map(([, value]) => value.item());
    expect(alphas).toEqual(adapted.map(() => 1)); // of rank 2: half the strength
  });

  test("is refused for layers that are not there, and where the whole model learns", () => {
    expect(() => policyOf({ targets: ["to_q", "to_qq"] })).toThrow("over no layer named to_qq");
    expect(() => policyOf({ adapter: "full", alpha: 2 })).toThrow("alpha: of a LoRA");
  });
});
