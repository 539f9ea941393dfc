// What `spo sample --grid-x …` writes beside its pictures: the grid as data, as a page and as a picture.
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { contactSheet } from "@spo/data";
import { GRID, type GridFile, gridPage } from "@spo/records/report";
import { UserError, writeFileAtomic } from "@spo/torch/files";
import { type GridAxis, type GridCell, labelsOf } from "../options/grid-axes.js";
import type { ImageParameters } from "./image-parameters.js";

/** Throws a UserError (`USAGE`) where a folder has a grid already. */
export function requireNoGrid(folder: string): void {
  if (existsSync(join(folder, GRID)))
    throw new UserError(`${folder} has a grid already.`, { code: "USAGE", hint: "Give another --output." });
}

/** Writes `grid.json`, `grid.html`, and a picture for each value of the third side. Gives their paths. */
export async function writeGrid(
  folder: string,
  axes: readonly GridAxis[],
  images: readonly { image: ImageParameters & { file: string }; cell: GridCell }[],
): Promise<string[]> {
  const grid: GridFile = {
    schema: "spo.grid/1",
    axes: axes.map((axis) => ({ name: axis.name, values: labelsOf(axis) })),
    images: images.map(({ image: { file, ...parameters }, cell }) => ({
      ...{ file: basename(file), at: cell.at },
      parameters: JSON.parse(JSON.stringify(parameters)) as Record<string, unknown>,
    })),
  };
  const read = (file: string): Uint8Array => readFileSync(join(folder, file));
  const [columns, rows, grids] = grid.axes as [GridFile["axes"][number], ...GridFile["axes"]];
  const side = Math.max(...images.map(({ image }) => Math.max(image.width, image.height)));
  const written: string[] = [];
  const write = (name: string, data: string | Uint8Array): void => {
    writeFileAtomic(join(folder, name), data);
    written.push(join(folder, name));
  };
  for (let z = 0; z < (grids?.values.length ?? 1); z++) {
    const inOrder = grid.images
      .filter(({ at }) => (at[2] ?? 0) === z)
      .sort((a, b) => (a.at[1] ?? 0) - (b.at[1] ?? 0) || (a.at[0] as number) - (b.at[0] as number));
    const labels = {
      columns: columns.values.map((value) => `${columns.name} ${value}`),
      rows: rows?.values.map((value) => `${rows.name} ${value}`),
    };
    const sheet = await contactSheet(
      inOrder.map(({ file }) => read(file)),
      { columns: columns.values.length, side, labels },
    );
    write(grids ? `grid-${z + 1}.png` : "grid.png", sheet);
  }
  write("grid.html", gridPage(grid, read));
  write(GRID, `${JSON.stringify(grid, null, 2)}\n`); // last: where it is, all is
  return written;
}
