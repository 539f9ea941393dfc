// The files that `spo eval` writes.
import { join } from "node:path";
import { bytesOfImage, thumbnail } from "@spo/data";
import { type EvaluationData, evaluationPage } from "@spo/records/report";
import { pairsOf, type ScoredImage } from "@spo/scorers";
import { writeFileAtomic } from "@spo/torch/files";
import type { EvaluationSource } from "./evaluation-source.js";

/** Rows of pictures on the page. */
const SHOWN = 12;

/** Images of the same prompt and noise, one a set, of as many prompts as there is room for. */
export async function picturesOf(
  sources: readonly EvaluationSource[],
  scored: ReadonlyMap<string, readonly ScoredImage[]>,
): Promise<EvaluationData["pictures"]> {
  const [first, ...others] = sources.map(({ name }) => scored.get(name) as readonly ScoredImage[]);
  const base = first as readonly ScoredImage[];
  const likes = others.map(
    (images) => new Map(pairsOf(base, images).map(({ base: from, own }) => [from, own])),
  );
  const shown: EvaluationData["pictures"][number][] = [];
  const seen = new Set<string>();
  for (const image of base) {
    if (seen.has(image.prompt) || shown.length === SHOWN) continue;
    seen.add(image.prompt);
    const row = [image, ...likes.map((like) => like.get(image))];
    const images = await Promise.all(
      row.map((each) => each && thumbnail(bytesOfImage({ path: each.path }), SIDE)),
    );
    shown.push({ prompt: image.prompt, seed: image.seed, images });
  }
  return shown;
}

/** Side of a picture on the page, pixels. */
const SIDE = 256;

/** One line of scores.jsonl for each image. */
export function imageLines(scored: ReadonlyMap<string, readonly ScoredImage[]>): object[] {
  return [...scored].flatMap(([model, images]) =>
    images.map(({ path, prompt, seed, image, scores }) => ({
      model,
      prompt,
      seed,
      image,
      file: path,
      scores,
    })),
  );
}

/** scores.jsonl (a line an image), prompts.csv (a line a prompt and model), evaluation.json and report.html. */
export function writeEvaluation(
  out: string,
  data: EvaluationData,
  scored: ReadonlyMap<string, readonly ScoredImage[]>,
): { scores: string; prompts: string; figures: string; report: string } {
  const files = {
    scores: join(out, "scores.jsonl"),
    prompts: join(out, "prompts.csv"),
    figures: join(out, "evaluation.json"),
    report: join(out, "report.html"),
  };
  const lines = imageLines(scored).map((line) => JSON.stringify(line));
  writeFileAtomic(files.scores, `${lines.join("\n")}\n`);
  const names = data.metrics.map(({ name }) => name);
  const rows = [...scored].flatMap(([model, images]) =>
    [...new Set(images.map(({ prompt }) => prompt))].map((prompt) => {
      const own = images.filter((image) => image.prompt === prompt);
      const means = names.map(
        (name) => own.reduce((sum, { scores }) => sum + (scores[name] as number), 0) / own.length,
      );
      return [model, prompt, String(own.length), ...means.map(String)].map(csvField).join(",");
    }),
  );
  writeFileAtomic(
    files.prompts,
    `${[["model", "prompt", "images", ...names].map(csvField).join(","), ...rows].join("\n")}\n`,
  );
  const { pictures: _, ...figures } = data;
  writeFileAtomic(files.figures, `${JSON.stringify({ schema: "spo.eval/2", ...figures }, null, 2)}\n`);
  writeFileAtomic(files.report, evaluationPage(data)); // last: where it exists, everything exists
  return files;
}

const csvField = (text: string): string => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
