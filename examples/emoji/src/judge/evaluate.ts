// Measures of a model's images: a judge's verdicts, prompt accuracy, the preference model's score.

import { rgbFromPixels } from "@spo/data/pixels";
import type { TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import type { GroupedFeatures } from "@spo/scorers";
import { requireFiniteScores, roundTrip, type SampleSettings, sampleImages } from "@spo/scorers";
import { cat, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import type { CandidateScorer, StepAwareJudge } from "spo";
import type { Artwork } from "../data/artwork.js";
import type { ArtworkJudge } from "./artwork-judge.js";

/** Everything that is measured of one image, and the image. */
export interface ImageFigures {
  prompt: string;
  seed: number;
  /** RGB, side × side. */
  rgb: Uint8Array;
  side: number;
  /** The preference model's score at timestep 0. */
  spm: number;
  /** log p(the prompt's concept | image) of the judge, among the concepts of all prompts. */
  logProb: number;
  /** The judge's realism logit. */
  realism: number;
  /** Whether the likeliest concept is the prompt's. */
  onPrompt: boolean;
  /** The judge's features, for the distance to real artwork. */
  features: number[];
}

/** What the judge prefers: rightness and realism together. */
export const judgeScore = ({ logProb, realism }: Pick<ImageFigures, "logProb" | "realism">): number =>
  logProb + realism;

/** The judges and the choices that `evaluate` measures with. */
export interface EvaluationTools {
  judge: ArtworkJudge;
  /** The preference model. */
  spm: StepAwareJudge;
  /** Prompts among whose concepts the judge has to find the right one. */
  choices: readonly string[];
}

/** Samples and measures. Yields after each batch what it has measured. */
export function* evaluateModel(
  pipe: TextToImage,
  prompts: readonly string[],
  seeds: readonly number[],
  settings: Omit<SampleSettings, "seed">,
  tools: EvaluationTools,
  meter?: WorkMeter,
): Generator<ImageFigures[]> {
  const scorer = noGrad(() => tools.spm.prepare(prompts));
  for (const seed of seeds) {
    for (const { images, prompts: shown } of sampleImages(pipe, prompts, { ...settings, seed }, meter)) {
      yield measure(images, shown, { ...tools, pipe, prompts, seed, scorer });
      images.dispose();
    }
  }
  scorer.dispose?.();
}

function measure(
  images: Tensor,
  shown: readonly number[],
  {
    pipe,
    prompts,
    seed,
    scorer,
    judge,
    choices,
  }: {
    pipe: TextToImage;
    prompts: readonly string[];
    seed: number;
    scorer: CandidateScorer;
  } & EvaluationTools,
): ImageFigures[] {
  return noGrad(() =>
    scope(() => {
      const captions = judge.config.captions;
      const places = choices.map((choice) => captions.indexOf(choice));
      const features = judge.features(images);
      const among = judge
        .logProbs(features)
        .indexSelect(1, tensor(places, { dtype: "int64", device: images.device }))
        .logSoftmax(-1); // [n, choices]
      const logProbs = among.toNumbers();
      const likeliest = among.argmax(-1).toNumbers();
      const realism = judge.realism(images).toNumbers();
      const rows = features.toNumbers();
      const width = features.shape[1] as number;
      // Only what sees latents looks at them.
      const latents = scorer.sees === "latents" ? pipe.vae.scale(pipe.vae.encode(images).mean) : images;
      const scores = scorer
        .score({ xt: latents, x0: latents, timestep: 0, image: () => images }, shown)
        .toNumbers();
      const texts = shown.map((prompt) => prompts[prompt] as string);
      requireFiniteScores("The preference model", scores, texts);
      requireFiniteScores("The judge", realism, texts);
      return shown.map((prompt, i) => {
        const text = prompts[prompt] as string;
        const right = choices.indexOf(text);
        const { data, width: side } = rgbFromPixels(images.narrow(0, i, 1));
        return {
          prompt: text,
          seed,
          rgb: data,
          side,
          spm: scores[i] as number,
          logProb: logProbs[i * choices.length + right] as number,
          realism: realism[i] as number,
          onPrompt: likeliest[i] === right,
          features: rows.slice(i * width, (i + 1) * width),
        };
      });
    }),
  );
}

/** The judge's features of real artwork of the given captions, through the VAE, and each one's caption. */
export function realFeatures(
  pipe: TextToImage,
  judge: ArtworkJudge,
  artwork: Artwork,
  captions: readonly string[],
): GroupedFeatures {
  return noGrad(() =>
    scope(() => {
      const rows = artwork.captions.flatMap((caption, row) => (captions.includes(caption) ? [row] : []));
      const real = artwork.pixels.indexSelect(0, tensor(rows, { dtype: "int64" }));
      const images = cat(roundTrip(pipe, real.to({ device: pipe.denoiser.device })));
      const features = cat(images.split(64).map((part) => judge.features(part)));
      const [count, width] = features.shape as [number, number];
      const flat = features.toNumbers();
      return {
        features: Array.from({ length: count }, (_, i) => flat.slice(i * width, (i + 1) * width)),
        groups: rows.map((row) => artwork.captions[row] as string),
      };
    }),
  );
}
