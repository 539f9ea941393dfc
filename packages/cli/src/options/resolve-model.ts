// Names on a hub in place of a model's folder or file.
import { existsSync } from "node:fs";
import { parseHubId } from "@spo/hub/id";
import { UserError } from "@spo/torch/files";
import { ProgressBar } from "../terminal/progress-bar.js";

/**
 * A path stays what it is; `org/name[@revision]` becomes its folder in the Hugging Face cache, `org/name/file.safetensors` a file there,
 * fetched when it is not there yet. A path on this machine comes first. Options as those of `fetchModel`.
 */
export async function resolveModel(
  model: string,
  { quiet, ...options }: { quiet?: boolean; variant?: string; configsOnly?: boolean } = {},
): Promise<string> {
  if (existsSync(model)) return model;
  const id = parseHubId(model);
  if (!id) return model; // the loader says that it is not there
  const { fetchModel } = await import("@spo/hub");
  const bar = new ProgressBar({ quiet });
  // No signal is handled: Ctrl-C ends the process at once, and the next call takes up what has arrived.
  try {
    return await fetchModel(id, {
      ...options,
      onEvent: (event) => {
        if (event.type === "progress")
          bar.advance({ stage: model, done: event.done, total: event.total, detail: event.file });
        else if (event.type === "retry")
          bar.say(`${event.reason}; trying again in ${(event.waitMs / 1000).toFixed(1)} s`);
        else if (event.type === "wait") bar.say(`another process fetches ${event.file}; waiting for it`);
        else bar.say(event.message);
      },
    });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`There is no ${model} on this machine, and as a model of the hub: ${error.message}`, {
      code: error.code,
      hint: error.hint,
      cause: error,
    });
  } finally {
    bar.end();
  }
}
