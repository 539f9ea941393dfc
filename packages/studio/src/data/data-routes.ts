// The browser of preference sets.
import { statSync } from "node:fs";
import { join } from "node:path";
import { fileOfRun, UserError } from "@spo/records";
import { Hono } from "hono";
import type { DataSet } from "../api.js";
import { PAIR_LIST } from "../judging/pairs-to-judge.js";
import { pictureResponse } from "../pictures.js";
import type { FoundRun } from "../runs/find-runs.js";
import type { RunIndex } from "../runs/run-index.js";
import { type LookedThrough, lookThrough } from "./look-through.js";

const MOST_IMAGE = 64e6;
/** Sets that are kept looked through. */
const KEPT = 4;

/** Routes below `/api/data`. */
export function dataRoutes(index: RunIndex): Hono {
  const routes = new Hono();
  const known = new Map<string, Promise<LookedThrough>>();

  const setOf = async (id: string): Promise<FoundRun> => {
    const found = await index.findSet(id);
    if (!found) throw new UserError("There is no such set; it may have been removed.", { code: "DATA" });
    return found;
  };
  const lookedThrough = ({ folder }: FoundRun): Promise<LookedThrough> => {
    const { mtimeMs, size } = statSync(join(folder, PAIR_LIST));
    const key = `${folder} ${mtimeMs} ${size}`;
    const looked = known.get(key) ?? lookThrough(folder);
    known.delete(key);
    known.set(key, looked);
    looked.catch(() => known.delete(key));
    const [oldest] = known.keys();
    if (known.size > KEPT && oldest !== undefined) known.delete(oldest);
    return looked;
  };

  routes.get("/:id", async (c) => {
    const found = await setOf(c.req.param("id"));
    const { facts, pairs } = await lookedThrough(found);
    return c.json({ schema: "spo.studio.data/1", title: found.name, facts, pairs } satisfies DataSet);
  });

  routes.get("/:id/pictures/:pair/:side", async (c) => {
    const { id, pair, side } = c.req.param();
    const found = await setOf(id);
    const files = (await lookedThrough(found)).files[/^\d{1,9}$/.test(pair) ? Number(pair) : -1];
    const file = side === "0" || side === "1" ? files?.[Number(side)] : undefined;
    return pictureResponse(file === undefined ? undefined : fileOfRun(found.folder, file, MOST_IMAGE));
  });
  return routes;
}
