// What the page of a run does to it: notes, requests of a training at work, the trash.
import { askRun, RUN_REQUESTS, runWriter, UserError } from "@spo/records";
import { type Context, Hono } from "hono";
import { z } from "zod";
import type { Deleted } from "../api.js";
import type { FoundRun } from "../runs/find-runs.js";
import type { RunIndex } from "../runs/run-index.js";
import { RunNotes, writeNotes } from "../runs/run-notes.js";
import { Trash } from "./trash.js";

const Request = z.strictObject({ request: z.enum(RUN_REQUESTS) });

/** Routes below `/api/runs/:id`; the run is found before. */
export function steeringRoutes(index: RunIndex): Hono<{ Variables: { run: FoundRun } }> {
  const routes = new Hono<{ Variables: { run: FoundRun } }>();
  const trash = new Trash(index.root);

  routes.put("/:id/notes", async (c) => {
    const run = c.get("run");
    const notes = writeNotes(run.folder, await bodyOf(c, RunNotes));
    run.hasNotes = true;
    return c.json(notes);
  });

  routes.post("/:id/requests", async (c) => {
    const { folder, name } = c.get("run");
    const { request } = await bodyOf(c, Request);
    if (typeof runWriter(folder) !== "object")
      throw new UserError(`${name} is not at work.`, {
        code: "USAGE",
        hint: "Only a running training can be asked.",
      });
    askRun(folder, request);
    return c.json({ asked: request });
  });

  routes.post("/:id/trash", (c) => {
    const run = c.get("run");
    const answer: Deleted = { id: run.id, name: run.name, now: trash.take(run) };
    index.forget(run.id);
    return c.json(answer);
  });

  // Of a run that is not listed any more.
  routes.post("/:id/restore", (c) => {
    trash.restore(c.req.param("id"));
    index.searchAgain();
    return c.json({ restored: c.req.param("id") });
  });
  return routes;
}

/** What a request holds, of the schema. Throws a UserError (`USAGE`) for anything else. */
export async function bodyOf<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const { success, data, error } = schema.safeParse(await c.req.json().catch(() => undefined));
  if (!success)
    throw new UserError(`This cannot be taken: ${error.issues.map(({ message }) => message).join("; ")}.`, {
      code: "USAGE",
    });
  return data;
}
