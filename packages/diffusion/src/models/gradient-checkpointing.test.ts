import { Generator, keep, liveTensors, randn, scope, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { addLora, type Lora } from "../lora/lora.js";
import { type TinyFamily, tinyModels, UNETS } from "./tiny-models.fixture.js";
import type { UNet2DConditionModel } from "./unet-2d-condition.js";

interface Trained {
  unet: UNet2DConditionModel;
  parameters: Map<string, Tensor>;
}

const full = (family: TinyFamily): Trained => {
  const { unet } = tinyModels(family);
  return { unet: unet.requiresGrad_(), parameters: unet.namedParameters() };
};

const lora = (family: TinyFamily): Trained => {
  const { unet } = tinyModels(family);
  const adapter: Lora = addLora(unet, { rank: 2 }, new Generator(3));
  for (const layer of adapter.layers.values())
    layer.lora_B.detach().normal_(0, 0.1, { generator: new Generator(4) });
  return { unet, parameters: adapter.namedParameters() };
};

/** Output, and every gradient by its name, of one guided step of two latents. */
function step({ unet, parameters }: Trained, family: TinyFamily, contextShared: boolean) {
  return scope(() => {
    const generator = new Generator(7);
    const width = UNETS[family].cross_attention_dim as number;
    const texts = randn([4, 5, width], { generator });
    const rows = tensor([0, 1, 2, 3], { dtype: "int64" });
    const added =
      family === "sdxl"
        ? {
            textEmbeds: randn([4, 10], { generator }),
            timeIds: tensor(Array(24).fill(64), { shape: [4, 6] }),
          }
        : undefined;
    const xt = randn([2, 4, 8, 8], { generator });
    const noise = unet.forward(xt, 401, {
      context: contextShared ? { texts, rows } : texts,
      ...added,
    });
    noise.square().mean().backward();
    const gradients = Object.fromEntries(
      [...parameters].map(([name, parameter]) => [name, parameter.grad?.toNumbers()]),
    );
    for (const parameter of parameters.values()) parameter.grad = undefined;
    return { noise: noise.toNumbers(), gradients };
  });
}

for (const family of ["sd15", "sdxl"] as const) {
  for (const [name, make] of Object.entries({ "all parameters": full, "a LoRA": lora })) {
    test(`gradients of ${name} of a ${family} UNet are bit-equal with and without checkpointing, and nothing is left behind`, () => {
      const trained = make(family);
      const before = liveTensors();
      const plain = step(trained, family, false);
      expect(Object.values(plain.gradients).every((g) => g?.some((value) => value !== 0))).toBe(true);
      trained.unet.gradientCheckpointing = true;
      expect(step(trained, family, false)).toEqual(plain);
      expect(step(trained, family, true)).toEqual(plain);
      expect(liveTensors()).toBe(before);
      trained.unet.dispose();
    });
  }
}

test("checkpointing gives the adapter's gradients also where the adapter has been off in between", () => {
  const { unet } = tinyModels("sd15");
  const adapter = addLora(unet, { rank: 2 }, new Generator(3));
  const gradients = (): number[][] =>
    scope(() => {
      const generator = new Generator(7);
      const context = randn([1, 5, 12], { generator });
      const xt = keep(randn([1, 4, 8, 8], { generator }));
      const loss = unet.forward(xt, 401, { context }).square().mean();
      adapter.without(() => unet.forward(xt, 401, { context }));
      loss.backward();
      const found = adapter.parameters().map((parameter) => parameter.grad?.toNumbers() ?? []);
      for (const parameter of adapter.parameters()) parameter.grad = undefined;
      xt.dispose();
      return found;
    });
  const plain = gradients();
  unet.gradientCheckpointing = true;
  expect(gradients()).toEqual(plain);
});
