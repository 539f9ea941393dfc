// Grids of pictures: those that `spo sample --grid-x …` wrote below the folder that is shown, and the samples of a run by step and prompt.
import { basename } from "node:path";
import { fileOfRun, UserError } from "@spo/records";
import { GRID, GridFile, gridPage } from "@spo/records/report";
import { Hono } from "hono";
import type { GridList, GridView } from "../api.js";
import { pictureResponse } from "../pictures.js";
import type { FoundRun } from "../runs/find-runs.js";
import type { RunIndex } from "../runs/run-index.js";
import type { RunLogs } from "../runs/run-logs.js";
import { sampleSets } from "../runs/run-page.js";

const MOST_FILE = 64e6;

/** Routes below `/api/grids`. */
export function gridRoutes(index: RunIndex, logs: RunLogs): Hono {
  const routes = new Hono();
  const foundOf = async (id: string): Promise<FoundRun> => {
    const found = await index.findGrid(id);
    if (!found) throw new UserError("There is no such grid; it may have been removed.", { code: "DATA" });
    return found;
  };

  routes.get("/", async (c) => {
    const grids = (await index.grids()).map(({ id, name }) => ({ id, title: name }));
    return c.json({ schema: "spo.studio.grids/1", grids } satisfies GridList);
  });

  routes.get("/:id", async (c) => {
    const id = c.req.param("id");
    const run = await index.find(id);
    if (run) return c.json(gridOfSamples(run, sampleSets(run, await logs.of(run))));
    const found = await foundOf(id);
    const { axes, images } = gridOf(found);
    const answer: GridView = {
      schema: "spo.studio.grid/1",
      title: found.name,
      axes,
      images: images.map(({ at, parameters }, i) => ({
        at,
        parameters,
        src: `/api/grids/${id}/images/${i}`,
      })),
      page: `/api/grids/${id}/page`,
      picture: `/api/grids/${id}/picture`,
    };
    return c.json(answer);
  });

  routes.get("/:id/images/:image", async (c) => {
    const found = await foundOf(c.req.param("id"));
    const image = gridOf(found).images[Number(c.req.param("image"))];
    return pictureResponse(image && fileOfRun(found.folder, image.file, MOST_FILE));
  });

  routes.get("/:id/picture", async (c) => {
    const { folder } = await foundOf(c.req.param("id"));
    const page = Number(c.req.query("page") ?? 0);
    const name = Number.isSafeInteger(page) ? `grid-${page + 1}.png` : "";
    return pictureResponse(fileOfRun(folder, "grid.png", MOST_FILE) ?? fileOfRun(folder, name, MOST_FILE));
  });

  routes.get("/:id/page", async (c) => {
    const found = await foundOf(c.req.param("id"));
    const page = gridPage(
      gridOf(found),
      (file) => fileOfRun(found.folder, file, MOST_FILE) ?? new Uint8Array(),
    );
    return new Response(page, {
      headers: {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Disposition": `attachment; filename="${basename(found.name).replace(/[^\w.-]+/g, "-")}.html"`,
      },
    });
  });
  return routes;
}

function gridOf({ name, folder }: FoundRun): GridFile {
  try {
    const bytes = fileOfRun(folder, GRID, MOST_FILE);
    if (bytes) return GridFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch (error) {
    throw new UserError(`The grid ${name} is damaged, or of a newer version.`, {
      code: "DATA",
      cause: error,
    });
  }
  throw new UserError(`The grid ${name} is not there any more.`, { code: "DATA" });
}

/** The held-out samples of a run: its steps beside each other, its prompts below. */
function gridOfSamples({ name }: FoundRun, sets: ReturnType<typeof sampleSets>): GridView {
  const prompts = sets[0]?.images.map(({ prompt }) => prompt) ?? [];
  return {
    schema: "spo.studio.grid/1",
    title: `${name}: samples`,
    axes: [
      { name: "step", values: sets.map(({ step }) => String(step)) },
      { name: "prompt", values: prompts },
    ],
    images: sets.flatMap(({ step, images }, x) =>
      images.slice(0, prompts.length).map(({ prompt, seed, src }, y) => ({
        ...{ at: [x, y], src },
        parameters: { step, prompt, seed },
      })),
    ),
  };
}
