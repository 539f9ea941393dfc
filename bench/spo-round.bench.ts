import { join } from "node:path";
import { guidedDenoiser, loadLora, loadUnet, loadVae, VpSchedule } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import {
  AdamW,
  Generator,
  noGrad,
  randint,
  randn,
  randperm,
  readSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
} from "@spo/torch";
import {
  backward,
  loadSpm,
  PixelPreferenceModel,
  type Randomness,
  resample,
  SpmJudge,
  type StepPairs,
  selectPairs,
  spoBatchLoss,
} from "spo";
import { CONTEXT, PROMPTS, SCHEDULE, TINY_SPM, writeLora, writeSpm, writeUnet, writeVae } from "./models.js";
import { some } from "./numbers.js";
import type { Case, Question } from "./question.js";

const SETTINGS = { steps: 20, candidates: 4, firstBranch: 4, threshold: 0, eta: 1, beta: 10, clip: 0.1 };
const COMPARISONS = SETTINGS.steps - SETTINGS.firstBranch;
const PAIRS = COMPARISONS * PROMPTS;
const BATCH = 4;
const GUIDANCE = 5;
const LATENT = [4, 16, 16];

const question: Question = {
  question:
    "What does a whole round of SPO cost: 4 prompts, 20 steps, 4 candidates, 64 pairs, 16 updates of 4 pairs?",
  peer:
    "The published code's work, in float32, on the same weights, noise and choices: diffusers' UNet with peft's LoRA, unmerged, and a deep copy " +
    "from before the adapter as reference; one UNet batch [uncond; cond] of all candidates a step; one VAE decode of all candidates a comparison; " +
    "transformers' CLIP with adaLN in the vision layers, and its text tower run for every candidate; each pair as two samples (win, lose), guided: " +
    "4 policy passes, 4 backward, 4 reference passes; torch.optim.AdamW with its defaults; no clipping. Eager. " +
    "Ours is what `spo train spo` runs: resample, spoBatchLoss, AdamW.",
  prepare: (folder) => {
    writeUnet(join(folder, "unet"));
    writeVae(join(folder, "vae"));
    writeSpm(join(folder, "spm"));
    writeLora(join(folder, "lora.safetensors"), join(folder, "unet"));
    const generator = new Generator(11);
    const words = TINY_SPM.text_config?.vocab_size as number;
    const ids = randint(1, words - 1, [PROMPTS, CONTEXT[0]], { generator, dtype: "int64" });
    ids.narrow(1, 9, CONTEXT[0] - 9).fill_(words - 1); // the end token, the largest id
    writeSafetensors(
      join(folder, "inputs.safetensors"),
      new Map([
        ["context", randn([PROMPTS, ...CONTEXT], { generator })],
        ["empty", randn([1, ...CONTEXT], { generator })],
        ["ids", ids],
        ["initialLatents", randn([PROMPTS, ...LATENT], { generator })],
        ["noiseBefore", randn([SETTINGS.firstBranch, PROMPTS, ...LATENT], { generator })],
        ["noiseBranch", randn([COMPARISONS, SETTINGS.candidates, PROMPTS, ...LATENT], { generator })],
        [
          "choices",
          randint(0, SETTINGS.candidates, [COMPARISONS - 1, PROMPTS], { generator, dtype: "int64" }),
        ],
        ["order", randperm(PAIRS, { generator, dtype: "int64" })],
      ]),
      {},
    );
  },
  cases: (folder) => {
    const inputs = readSafetensors(join(folder, "inputs.safetensors"));
    const input = (name: string): Tensor => inputs.get(name) as Tensor;
    const unet = loadUnet(join(folder, "unet"));
    const vaes = {
      float32: loadVae(join(folder, "vae")),
      bfloat16: loadVae(join(folder, "vae"), { dtype: "bfloat16" }),
    };
    const { spm, processor } = loadSpm(join(folder, "spm"));
    const lora = loadLora(unet, join(folder, "lora.safetensors"));
    const judge = new SpmJudge(new PixelPreferenceModel(spm, processor, () => input("ids")));
    const process = new VpSchedule(SCHEDULE);
    const optimizer = new AdamW(lora.parameters(), { lr: 6e-5, weightDecay: 1e-4 });
    const meter = new WorkMeter();
    const byName = [...lora.namedParameters()].sort(([a], [b]) => (a < b ? -1 : 1));
    const shared = {
      model: unet,
      conditional: { context: input("context") },
      unconditional: { context: input("empty") },
      guidanceScale: GUIDANCE,
    };
    const policy = guidedDenoiser(shared);
    const reference = guidedDenoiser({ ...shared, around: (call) => lora.without(call) });
    const order = input("order").toNumbers();
    const choices = input("choices").toNumbers();
    const randomness: Randomness = {
      noise: (step) =>
        step < SETTINGS.firstBranch
          ? input("noiseBefore").select(0, step)
          : input("noiseBranch").select(0, step - SETTINGS.firstBranch),
      choose: (comparison) => choices.slice(comparison * PROMPTS, (comparison + 1) * PROMPTS),
    };

    type DecodingDType = keyof typeof vaes;
    const pairsBy = (dtype: DecodingDType): StepPairs => {
      const scorer = noGrad(() => judge.prepare([], meter)); // the tokenizer has them all
      const { pairs } = lora.merged(() =>
        resample({
          denoiser: policy,
          process,
          decode: (latents) => vaes[dtype].decodeLatents(latents.to({ dtype })).to({ dtype: "float32" }),
          scorer,
          initialLatents: input("initialLatents"),
          randomness,
          settings: SETTINGS,
          meter,
        }),
      );
      scorer.dispose?.();
      if (pairs.size !== PAIRS) throw new Error(`${pairs.size} pairs, expected ${PAIRS}`);
      return pairs;
    };

    /** → the loss of each update. */
    const round = (dtype: DecodingDType): number[] =>
      scope(() => {
        const pairs = pairsBy(dtype);
        const losses: number[] = [];
        for (let start = 0; start < order.length; start += BATCH) {
          scope(() => {
            const batch = {
              policy,
              reference,
              pairs: selectPairs(pairs, order.slice(start, start + BATCH)),
              process,
              meter,
              ...SETTINGS,
            };
            const { loss } = spoBatchLoss(batch);
            losses.push(loss.item());
            backward(loss, batch);
          });
          meter.phase("optimizer", () => optimizer.step());
          optimizer.zeroGrad();
        }
        return losses;
      });

    const caseOf = (name: string, dtype: DecodingDType): Case => ({
      name,
      shapes: `latents [${LATENT}], context [${CONTEXT}], pixels [3, 64, 64]; UNet 4.2 million weights, LoRA of rank 4 on ${lora.layers.size} layers`,
      rounds: 3,
      target: { of: "cpu", ratio: dtype === "float32" ? 0.45 : 0.38 },
      run: () => {
        round(dtype);
      },
      // Rounded images make other pairs here and there: the mean loss stays.
      tolerance: dtype === "float32" ? 2e-3 : 2e-2,
      result: () => {
        const losses = round(dtype);
        return dtype === "float32"
          ? [...losses, ...byName.flatMap(([, weight]) => some(weight, 4))]
          : [losses.reduce((sum, loss) => sum + loss, 0) / losses.length];
      },
      facts: () => {
        meter.take();
        round(dtype);
        const { passes, phases } = meter.take();
        return {
          ...passes,
          ...Object.fromEntries(Object.entries(phases).map(([phase, { cpu }]) => [`cpu ${phase}`, cpu])),
        };
      },
    });

    return [caseOf("round", "float32"), caseOf("round, decoding in bfloat16", "bfloat16")];
  },
};
export default question;
