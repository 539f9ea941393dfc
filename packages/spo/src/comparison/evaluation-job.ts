import { setImmediate } from "node:timers/promises";
import { rgbFromPixels } from "@spo/data/pixels";
import { loadTextToImage } from "@spo/diffusion";
import { sampleImages } from "@spo/scorers";
import { resolveDevice, type Tensor, writeFileAtomic } from "@spo/torch";
import sharp from "sharp";
import { type ImageVerdict, loadImageJudge } from "./image-judge.js";
import { MeasuredImages } from "./image-measures.js";
import { type Evaluated, type Evaluation, type JobProgress, keyOf, readEvaluated } from "./jobs.js";
import { loadSnapshot } from "./snapshot.js";

/** Pixels of a picture's side in the report, at most. */
const LARGEST = 192;

export async function* evaluate(job: Evaluation, signal: AbortSignal): AsyncGenerator<JobProgress> {
  if (readEvaluated(job)) return;
  const { policy, snapshot, choices, sampling, sampled, shown } = job;
  const device = resolveDevice(job.device ?? "cpu");
  const pipe =
    snapshot === undefined
      ? loadTextToImage(policy.model, { device })
      : loadSnapshot(snapshot, policy, { device });
  const judge = await loadImageJudge(job.judge, { pipe, choices });
  const { prompts, seeds, perPrompt } = sampled;
  const images: ImageVerdict[] = [];
  const pictures: Evaluated["pictures"] = [];
  const measured = job.measured ? new MeasuredImages() : undefined;
  const total = prompts.length * seeds.length * perPrompt;
  for (const seed of seeds) {
    for (const chunk of sampleImages(pipe, prompts, { ...sampling, seed, perPrompt })) {
      const texts = chunk.prompts.map((row) => prompts[row] as string);
      const verdicts = await judge.judge(chunk.images, texts);
      measured?.add(chunk.images, texts);
      for (const [i, prompt] of texts.entries()) {
        images.push({ prompt, seed, ...(verdicts[i] as (typeof verdicts)[number]) });
        if (pictures.filter((picture) => picture.prompt === prompt).length < shown)
          pictures.push({ prompt, seed, png: await encoded(chunk.images, i) });
      }
      chunk.images.dispose();
      yield { done: images.length, total };
      await setImmediate(); // lets messages arrive
      signal.throwIfAborted();
    }
  }
  for (const [i, measures] of measured?.take().entries() ?? [])
    (images[i] as ImageVerdict).measures = measures;
  const found: Evaluated = { key: keyOf(job), judge: judge.about, images, pictures };
  writeFileAtomic(job.file, JSON.stringify(found));
}

async function encoded(images: Tensor, row: number): Promise<string> {
  using image = images.narrow(0, row, 1);
  const { data, width, height } = rgbFromPixels(image);
  const picture = sharp(data, { raw: { width, height, channels: 3 } });
  const size = { width: LARGEST, height: LARGEST, fit: "inside", withoutEnlargement: true } as const;
  return (await picture.resize(size).png({ compressionLevel: 9 }).toBuffer()).toString("base64");
}
