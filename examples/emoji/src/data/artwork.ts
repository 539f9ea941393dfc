import { bytesOf, readParquet, textOf } from "@spo/data";
import { pixelsOf } from "@spo/data/pixels";
import { type Tensor, UserError } from "@spo/torch";

/** Captioned images of one size, in memory. Row i of `pixels` is described by row i of the lists. */
export interface Artwork {
  /** [n, 3, h, w] in [−1, 1]. */
  pixels: Tensor;
  captions: string[];
  /** What is shown; the same for all renderings of a thing. */
  concepts: string[];
  /** Which artist's set the rendering is from. */
  sets: string[];
  /** Whether the thing is one of those that the base draws. */
  core: boolean[];
}

/**
 * Reads a parquet file with the columns `image`, `caption`, `concept`, `set` and `core`. core: whether all but the base's concepts are left
 * out; leaveOut: captions that are left out, whose concepts must stay unseen.
 *
 * Throws a UserError (`DATA`) where nothing is left.
 */
export async function readArtwork(
  path: string,
  { core = false, leaveOut = [] }: { core?: boolean; leaveOut?: readonly string[] } = {},
): Promise<Artwork> {
  const unseen = new Set(leaveOut);
  const rows = (await readParquet(path, ["image", "caption", "concept", "set", "core"])).filter(
    (row) => (!core || row.core === true) && !unseen.has(textOf(row.caption)),
  );
  if (rows.length === 0) throw noArtwork(path);
  return {
    pixels: await pixelsOf(
      rows.map((row) => bytesOf(row.image)),
      path,
    ),
    captions: rows.map((row) => textOf(row.caption)),
    concepts: rows.map((row) => textOf(row.concept)),
    sets: rows.map((row) => textOf(row.set)),
    core: rows.map((row) => row.core === true),
  };
}

/** The error of a file that has none of the artwork that a training needs. */
export const noArtwork = (path: string): UserError =>
  new UserError(`${path}: no artwork is left to train on.`, {
    code: "DATA",
    hint: "leaveOut names captions that must stay unseen; it must not name all that is asked about.",
  });
