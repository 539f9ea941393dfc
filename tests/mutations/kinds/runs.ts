// Run folders and their logs, as they are shown, gone on with, evaluated and compared.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkCheckpoint, type EventBody, listCheckpoints, Run, readRun } from "@spo/records";
import { checkConfig } from "@spo/records/config";
import { reportPage, runReport, type StripFile, stripFileName } from "@spo/records/report";
import { openSafetensors, safetensorsContents, scope, tensor } from "@spo/torch";
import sharp from "sharp";
import { writeReport } from "spo/report";
import { TrainSpoConfig } from "spo/schemas";
import { type Evaluation, keyOf, readEvaluated } from "../../../packages/spo/src/comparison/jobs.js";
import type { Kind } from "../kind.js";

/** Sides and colours do not matter: what a log tells is looked at, not the pixels. */
const pixel = (): Promise<Buffer> =>
  sharp({ create: { width: 4, height: 4, channels: 3, background: "#d22" } })
    .png()
    .toBuffer();

const CONFIG = { model: "model", spm: "spm", prompts: "prompts.txt", output: "out" };

const bodies = (step: number): EventBody[] => [
  {
    type: "comparisons",
    step,
    timesteps: [{ timestep: 500, pairs: 4, valid: 3, margin: 0.5, spread: null, notFinite: 0 }],
  },
  {
    type: "step",
    step,
    total: 4,
    metrics: { loss: 0.7 / step, accuracy: 0.5, gradNorm: 1, clipped: null as unknown as number },
    passes: { unetSampling: 8 },
  },
  { type: "pairs", step, timesteps: [{ timestep: 500, pairs: 3, accuracy: 0.5, logRatio: null }] },
  { type: "eval", step, metrics: { drift: 0.1, accuracy: 0.6 } },
];

/** A training's folder with everything that trainings write, two checkpoints among it. */
async function makeRun(folder: string, { finished = true } = {}): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const run = Run.open(join(folder, "run"), {
    kind: "train spo",
    config: checkConfig(TrainSpoConfig, CONFIG),
    engine: { libtorch: "2.15.0", node: "20" },
  });
  const png = await pixel();
  mkdirSync(join(folder, "run", "images"), { recursive: true });
  mkdirSync(join(folder, "run", "strips"), { recursive: true });
  const rows: StripFile = [0, 1].map((comparison) => ({
    ...{
      prompt: "a red apple",
      comparison,
      timestep: 500 - 100 * comparison,
      scores: [0.1, null],
      win: 0,
      lose: 1,
      valid: true,
      next: 1,
    },
    images: [png.toString("base64"), png.toString("base64")],
  }));
  for (const round of [0, 3])
    writeFileSync(join(folder, "run", "strips", stripFileName(round)), JSON.stringify(rows));
  for (const step of [1, 2, 3, 4]) {
    for (const body of bodies(step)) run.record(body);
    writeFileSync(join(folder, "run", "images", `${step}.png`), png);
    run.record({
      type: "sample",
      step,
      images: [{ file: `images/${step}.png`, prompt: "a red apple", seed: 1 }],
    });
    if (step % 2 === 0) {
      const state = { "policy/a": tensor([1, 2]), step: tensor(step) };
      const files = { "training-state.safetensors": safetensorsContents(state) };
      for (const _ of run.save(step, () => files, { wait: true })) {
        // recorded as it goes
      }
    }
  }
  for (const _ of run.warn("hot")) {
    // recorded as it goes
  }
  if (finished)
    for (const _ of run.done({ output: "out", rounds: 4 })) {
      // recorded as it goes
    }
  run.close();
}

const RUN_WORDS = [
  ...[
    "start",
    "resume",
    "phase",
    "step",
    "comparisons",
    "pairs",
    "candidates",
    "sample",
    "eval",
    "checkpoint",
    "warn",
    "done",
    "type",
    "time",
    "wall",
    "cpu",
    "phases",
    "rss",
  ],
  ...[
    "train spo",
    "train spm",
    "train dpo",
    "compare",
    "quickstart",
    "kind",
    "metrics",
    "loss",
    "accuracy",
    "total",
    "images",
    "file",
    "prompt",
    "seed",
    "passes",
    "unetSampling",
  ],
  ...[
    "../../config.json",
    "/dev/zero",
    "images/1.png",
    "checkpoints/step-00000002",
    "step-00000002",
    "training-state.safetensors",
    "manifest.json",
    "files",
    "pid",
    "host",
    "boot",
    "</script><script>alert(1)</script>",
  ],
];

const CHOICES: Evaluation = {
  kind: "evaluation",
  file: "",
  policy: { model: "m", adapter: "lora", rank: 2, alpha: null, targets: null, textEncoders: false },
  judge: "judge",
  choices: [],
  sampled: { prompts: ["a"], seeds: [1], perPrompt: 1 },
  sampling: { steps: 2, guidanceScale: 3, eta: 1 },
  shown: 1,
};

export const runKinds: readonly Kind[] = [
  {
    name: "run-shown",
    group: "runs",
    changed: /run\/(config\.json|events\.jsonl|writer\.json|strips\/.*|images\/4\.png)$/,
    words: RUN_WORDS,
    share: 3,
    async make(folder) {
      await makeRun(folder);
      writeFileSync(join(folder, "run", "writer.json"), '{"pid":1,"started":"0"}\n');
    },
    async read(folder, index) {
      const run = readRun(join(folder, "run"));
      for (const checkpoint of run.checkpoints) checkCheckpoint(checkpoint);
      if (index % 8 === 0) await writeReport(join(folder, "report"), runReport(run));
      else reportPage(runReport(run));
    },
  },
  {
    name: "run-resumed",
    group: "runs",
    changed: /run\/(config\.json|events\.jsonl|checkpoints\/.*)$/,
    words: RUN_WORDS,
    writes: true,
    share: 2,
    make: (folder) => makeRun(folder, { finished: false }),
    read(folder) {
      const run = Run.open(join(folder, "run"), {
        kind: "train spo",
        config: checkConfig(TrainSpoConfig, CONFIG),
      });
      try {
        run.resume((checkpoint) => {
          const file = openSafetensors(join(checkpoint, "training-state.safetensors"));
          try {
            scope(() => void file.tensors());
          } finally {
            file.close();
          }
        });
        run.result();
        for (const body of bodies(4)) run.record(body);
        run.discardUnused();
      } finally {
        run.close();
      }
    },
  },
  {
    name: "run-lock",
    group: "runs",
    changed: /writer\.json$/,
    words: RUN_WORDS,
    writes: true,
    async make(folder) {
      await makeRun(folder, { finished: false });
      writeFileSync(join(folder, "run", "writer.json"), '{"pid":999999,"started":"17"}\n');
    },
    read(folder) {
      Run.open(join(folder, "run"), {
        kind: "train spo",
        config: checkConfig(TrainSpoConfig, CONFIG),
        silenceMs: 50, // an owner of elsewhere is waited for, which is not what is looked at here
      }).close();
    },
  },
  {
    name: "checkpoint-manifest",
    group: "runs",
    changed: /manifest\.json$/,
    words: RUN_WORDS,
    make: (folder) => makeRun(folder),
    read(folder) {
      const checked = listCheckpoints(join(folder, "run", "checkpoints")).map(checkCheckpoint);
      for (const { fault } of checked) if (fault?.match(/Cannot read|undefined/)) throw new Error(fault);
      return checked.some(({ fault }) => fault !== undefined) ? "refused" : "read";
    },
  },
  {
    name: "comparison-verdicts",
    group: "runs",
    words: ["key", "judge", "images", "pictures", "score", "onPrompt", "png"],
    make(folder) {
      const file = join(folder, "evaluation.json");
      writeFileSync(
        file,
        JSON.stringify({
          key: keyOf(CHOICES),
          judge: "judge",
          images: [{ prompt: "a", seed: 1, score: 0.5 }],
          pictures: [{ prompt: "a", seed: 1, png: "" }],
        }),
      );
    },
    read: (folder) => void readEvaluated({ ...CHOICES, file: join(folder, "evaluation.json") }),
  },
];
