// Draws a model's images of fixed prompts and seeds into a folder, which can be resumed and read by others.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { ImageOfSet } from "@spo/data";
import { withPngText } from "@spo/data";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import type { TextToImage } from "@spo/diffusion";
import { differingKeys } from "@spo/records";
import { scope } from "@spo/torch";
import { requireShared, WORLD_OF_ONE, type World } from "@spo/torch/distributed";
import { makeFolder, UserError, writeFileAtomic } from "@spo/torch/files";
import { readJson } from "@spo/torch/text-files";
import { type SampleSettings, sampleImages } from "./samples.js";

/** What `drawSet` draws, beside the prompts. */
export interface DrawSettings extends Omit<SampleSettings, "seed" | "skip" | "world"> {
  seeds: readonly number[];
}

/**
 * Draws perPrompt images of every prompt and seed into a folder: PNG files, and at the end `images.jsonl`, so that `readImageSet` reads it.
 *
 * What the folder has already is not drawn again. about: what the images depend on besides the settings; a folder that was begun with other
 * settings is refused with a UserError (`USAGE`) that names them. world: the processes that draw together; a folder that not all of them
 * see is refused (`CONFIG`). Yields after each batch how many images there are, those of other processes left out.
 */
export async function* drawSet(
  pipe: TextToImage,
  prompts: readonly string[],
  { seeds, ...settings }: DrawSettings,
  folder: string,
  { about = {}, world = WORLD_OF_ONE }: { about?: Readonly<Record<string, unknown>>; world?: World } = {},
): AsyncGenerator<number, ImageOfSet[]> {
  const { batch: _, ...kept } = settings; // images depend on it by rounding at most
  if (world.rank === 0) claim(folder, { ...about, prompts, seeds, ...kept });
  await requireShared(world, folder);
  const places = seeds.flatMap((seed) =>
    prompts.flatMap((prompt, p) =>
      Array.from({ length: settings.perPrompt }, (_, image) => ({
        prompt,
        seed,
        image,
        file: fileName(p, seed, image),
      })),
    ),
  );
  // Before any process has drawn, so that all make the same batches of the rest.
  const here = places.flatMap(({ file }) => (existsSync(join(folder, file)) ? [file] : []));
  const there = new Set((await world.gather(here))[0]);
  let done = there.size;
  for (const seed of seeds) {
    const skip = (prompt: number, image: number): boolean => there.has(fileName(prompt, seed, image));
    for (const chunk of sampleImages(pipe, prompts, { ...settings, seed, skip, world })) {
      const rgb = chunk.prompts.map((_, i) => scope(() => rgbFromPixels(chunk.images.narrow(0, i, 1))));
      chunk.images.dispose();
      for (const [i, { data, width, height }] of rgb.entries()) {
        const p = chunk.prompts[i] as number;
        const image = chunk.numbers[i] as number;
        const text = JSON.stringify({ prompt: prompts[p], seed, image });
        const png = withPngText(await encodePng(data, width, height), { spo: text });
        writeFileAtomic(join(folder, fileName(p, seed, image)), png);
      }
      done += rgb.length;
      yield done;
    }
  }
  await world.barrier("all images to be drawn");
  if (done < places.length) yield places.length; // with those of other processes
  const lines = places.map(({ file, prompt, seed, image }) => JSON.stringify({ file, prompt, seed, image }));
  if (world.rank === 0) writeFileAtomic(join(folder, "images.jsonl"), `${lines.join("\n")}\n`);
  return places.map(({ file, ...place }) => ({ path: join(folder, file), ...place }));
}

const fileName = (prompt: number, seed: number, image: number): string =>
  `${String(prompt).padStart(4, "0")}-${seed}-${image}.png`;

/** Writes down what a folder's images are drawn with. Throws a UserError (`USAGE`) where it has images of other settings. */
export function claim(folder: string, settings: Readonly<Record<string, unknown>>): void {
  makeFolder(folder);
  const path = join(folder, "settings.json");
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  const drawn = readdirSync(folder).some((name) => name.endsWith(".png"));
  const keys = drawn && existsSync(path) ? differingKeys(readJson(path), JSON.parse(text)) : [];
  if (keys.length > 0) {
    throw new UserError(`${folder} has images of another evaluation: it differs in ${keys.join(", ")}.`, {
      code: "USAGE",
      hint: "Give another --output, or remove that folder.",
    });
  }
  writeFileAtomic(path, text);
}
