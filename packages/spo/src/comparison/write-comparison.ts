import { join } from "node:path";
import { contactSheet } from "@spo/data";
import { makeFolder, writeFileAtomic } from "@spo/torch/files";
import sharp from "sharp";
import type { ComparisonFacts } from "./comparison-facts.js";
import { type ComparedPictures, comparisonPage } from "./comparison-page.js";

/** Prompts on the sheet that stands beside the page. */
const SHEET = 16;

/** Paths of the files that `writeComparison` wrote. */
export interface WrittenComparison {
  html: string;
  /** All figures behind the page. */
  json: string;
  /** The base and the methods in rows below each other, prompts side by side. */
  image?: string;
}

/** Writes `comparison.html`, `comparison.json` and `comparison.png` into a folder. */
export async function writeComparison(
  folder: string,
  facts: ComparisonFacts,
  pictures: ComparedPictures<"png">,
): Promise<WrittenComparison> {
  makeFolder(folder);
  const at = (name: string): string => join(folder, name);
  const prompts = [...new Set(pictures.base?.map(({ prompt }) => prompt))].slice(0, SHEET);
  const firsts = facts.rows.map(({ name }) =>
    prompts.flatMap((prompt) => pictures[name]?.find((picture) => picture.prompt === prompt) ?? []),
  );
  const columns = Math.min(8, prompts.length);
  const encoded: Uint8Array[] = [];
  for (let start = 0; start < prompts.length; start += columns) {
    for (const row of firsts)
      encoded.push(
        ...row.slice(start, start + columns).map(({ png }) => new Uint8Array(Buffer.from(png, "base64"))),
      );
  }
  const image = encoded.length > 0 ? at("comparison.png") : undefined;
  if (image) {
    const sheet = sharp(await contactSheet(encoded, { columns, side: 96 }));
    // For a look, not for measuring: a third of the bytes.
    writeFileAtomic(image, await sheet.png({ palette: true, quality: 95, effort: 10 }).toBuffer());
  }
  writeFileAtomic(at("comparison.json"), `${JSON.stringify(facts)}\n`);
  const page = comparisonPage(facts, await smaller(pictures));
  writeFileAtomic(at("comparison.html"), page); // last: where it exists, everything exists
  return { html: at("comparison.html"), json: at("comparison.json"), image };
}

/** The pictures as a page holds hundreds of them: a fifth of the bytes, with no difference to the eye. */
async function smaller(pictures: ComparedPictures<"png">): Promise<ComparedPictures<"webp">> {
  const encoded = Object.entries(pictures).map(async ([name, of]) => {
    const shown = of.map(async ({ png, ...picture }) => {
      const webp = await sharp(Buffer.from(png, "base64")).webp({ quality: 90 }).toBuffer();
      return { ...picture, webp: webp.toString("base64") };
    });
    return [name, await Promise.all(shown)] as const;
  });
  return Object.fromEntries(await Promise.all(encoded));
}
