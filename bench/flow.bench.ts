import { join } from "node:path";
import {
  addLora,
  type FlowConditions,
  FluxTransformer2DModel,
  flux,
  loadTransformer,
  SD3Transformer2DModel,
  stableDiffusion3,
} from "@spo/diffusion";
import {
  type Device,
  type DType,
  Generator,
  noGrad,
  randn,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import { linkModel } from "./full-size.js";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

/** A transformer of published width. The fewer blocks of some are for a first look: they take seconds. */
const MODELS = {
  sd35: {
    make: () => new SD3Transformer2DModel(stableDiffusion3.published.transformer),
    load: (folder: string, options: Place) => loadTransformer(folder, SD3Transformer2DModel, options),
    pooled: 2048,
    about: "2.5 billion weights",
  },
  "sd35-2": {
    make: () =>
      new SD3Transformer2DModel({
        ...stableDiffusion3.published.transformer,
        num_layers: 2,
        dual_attention_layers: [0],
      }),
    load: (folder: string, options: Place) => loadTransformer(folder, SD3Transformer2DModel, options),
    pooled: 2048,
    about: "2 blocks of full width",
  },
  "flux-2-4": {
    make: () =>
      new FluxTransformer2DModel({ ...flux.published.transformer, num_layers: 2, num_single_layers: 4 }),
    load: (folder: string, options: Place) => loadTransformer(folder, FluxTransformer2DModel, options),
    pooled: 768,
    about: "2 + 4 blocks of full width",
  },
} as const;

interface Place {
  dtype: DType;
  device: Device;
}

interface Work {
  name: string;
  model: keyof typeof MODELS;
  /** Of the base; an adapter is in float32. */
  dtype: DType;
  /** With an adapter of rank 4 on the attention's projections, which learns, and with blocks computed again in backward. */
  lora?: boolean;
  /** Of the results. */
  tolerance: number;
}

/** Rounding in bfloat16 moves numbers by parts of a hundred. */
const half = { dtype: "bfloat16", tolerance: 0.05 } as const;
/** Gradients of the two sides differ by 0.16 of the largest in bfloat16; the case in float32 tells whether they compute the same. */
const halfGradients = { dtype: "bfloat16", tolerance: 0.3, lora: true } as const;
const LORA = "LoRA, checkpointing, forward + backward";

const WORKS: readonly Work[] = [
  { name: "SD3.5 Medium, bfloat16, forward", model: "sd35", ...half },
  { name: `SD3.5 Medium, bfloat16, ${LORA}`, model: "sd35", ...halfGradients },
  { name: "SD3.5, 2 blocks, bfloat16, forward", model: "sd35-2", ...half },
  { name: `SD3.5, 2 blocks, bfloat16, ${LORA}`, model: "sd35-2", ...halfGradients },
  {
    name: `SD3.5, 2 blocks, float32, ${LORA}`,
    model: "sd35-2",
    dtype: "float32",
    tolerance: 1e-3,
    lora: true,
  },
  { name: "FLUX, 2 + 4 blocks, bfloat16, forward", model: "flux-2-4", ...half },
];
const SIZE = 64;
const TOKENS = 333;
const TIMESTEP = 501;
/** What FLUX is told in place of being guided. */
const GUIDANCE = 3.5;
const TARGETS = ["to_q", "to_k", "to_v", "to_out.0"];
const RANK = 4;

const question: Question = {
  question:
    "What do transformers of flow models cost in time and memory, forward and with a LoRA's backward, against diffusers' eager mode?",
  peer:
    "diffusers' SD3Transformer2DModel and FluxTransformer2DModel as from_pretrained gives them, eager, torch's scaled dot-product attention; " +
    "the same weights and inputs. Forward under inference_mode; the LoRA by add_adapter (peft) in float32, with diffusers' gradient checkpointing.",
  large: true,
  anyDevice: true,
  prepare: (folder, isAsked) => {
    const generator = new Generator(7);
    const inputs = new Map<string, Tensor>([
      ["sample", randn([1, 16, SIZE, SIZE], { generator })],
      ["context", randn([1, TOKENS, 4096], { generator })],
    ]);
    const asked = new Set(WORKS.filter(({ name }) => isAsked(name)).map(({ model }) => model));
    for (const name of asked) {
      const { make, pooled } = MODELS[name];
      linkModel(folder, name, { make, dtype: "bfloat16" });
      inputs.set(`${name}/pooled`, randn([1, pooled], { generator }));
    }
    writeSafetensors(join(folder, "inputs.safetensors"), inputs);
    for (const model of new Set(
      WORKS.flatMap(({ model, lora }) => (lora && asked.has(model) ? [model] : [])),
    ))
      writeAdapter(folder, model, generator);
  },
  cases: (folder, device) => WORKS.map((work) => caseOf(folder, work, device)),
};
export default question;

const adapterFile = (folder: string, model: Work["model"]): string =>
  join(folder, `${model}-lora.safetensors`);

/** Both matrices of each layer, `transformer_blocks.0.attn.to_q.lora_A`; B of a size that shows in the output. */
function writeAdapter(folder: string, name: Work["model"], generator: Generator): void {
  using model = MODELS[name].load(join(folder, name), { dtype: "bfloat16", device: "cpu" });
  const values = new Map<string, Tensor>();
  for (const [layer, { lora_A, lora_B }] of addLora(model, { rank: RANK, targets: TARGETS }, generator)
    .layers) {
    values.set(
      `${layer}.lora_A`,
      scope(() => randn(lora_A.shape, { generator }).mul(0.02)),
    );
    values.set(
      `${layer}.lora_B`,
      scope(() => randn(lora_B.shape, { generator }).mul(0.02)),
    );
  }
  writeSafetensors(adapterFile(folder, name), values);
}

/** Loads the model when it is first asked: each case has a process of its own, and its peak holds the loading. */
function caseOf(folder: string, work: Work, device: Device): Case {
  let loaded: { run: () => void; result: () => number[] } | undefined;
  const get = () => {
    loaded ??= work.lora ? training(folder, work, device) : prediction(folder, work, device);
    return loaded;
  };
  return {
    name: work.name,
    shapes: `${MODELS[work.model].about}, latents [1,16,${SIZE},${SIZE}], ${TOKENS} tokens`,
    rounds: 3,
    target: { of: "cpu", ratio: 1 },
    peak: 0.9,
    tolerance: work.tolerance,
    run: () => get().run(),
    result: () => get().result(),
  };
}

function prediction(folder: string, work: Work, device: Device) {
  const { predict } = predictor(folder, work, device);
  return {
    run: () => noGrad(() => scope(() => void predict())),
    result: () => noGrad(() => scope(() => some(predict()))),
  };
}

function training(folder: string, work: Work, device: Device) {
  const { model, predict } = predictor(folder, work, device);
  const lora = addLora(model, { rank: RANK, targets: TARGETS }, new Generator(1));
  const values = readSafetensors(adapterFile(folder, work.model));
  noGrad(() => {
    for (const [layer, { lora_A, lora_B }] of lora.layers)
      scope(() => {
        lora_A.copy_(values.get(`${layer}.lora_A`) as Tensor);
        lora_B.copy_(values.get(`${layer}.lora_B`) as Tensor);
      });
  });
  model.gradientCheckpointing = true;
  const parameters = lora.parameters();
  const backward = (): void => predict().to({ dtype: "float32" }).square().mean().backward();
  const forget = (): void => {
    for (const parameter of parameters) parameter.grad = undefined;
  };
  return {
    run: () => {
      scope(backward);
      forget();
    },
    result: () =>
      scope(() => {
        backward();
        const numbers = some(lora.layers.get("transformer_blocks.0.attn.to_q")?.lora_B.grad as Tensor);
        forget();
        return numbers;
      }),
  };
}

function predictor(folder: string, { model: name, dtype }: Work, device: Device) {
  const place = { dtype, device };
  const inputs = readSafetensors(join(folder, "inputs.safetensors"));
  const input = (of: string): Tensor => (inputs.get(of) as Tensor).to(place);
  const model: SD3Transformer2DModel | FluxTransformer2DModel = MODELS[name].load(join(folder, name), place);
  const sample = input("sample");
  const conditions: FlowConditions = { context: input("context"), pooled: input(`${name}/pooled`) };
  return {
    model,
    predict: () => model.forward(sample, TIMESTEP, conditions, { guidanceScale: GUIDANCE }),
  };
}
