import type { AddonRecord } from "@spo/native/libtorch";
import { shortageOf, UserError } from "@spo/torch/files";
import { say } from "../terminal/terminal.js";

/**
 * Loads the engine, which only commands that compute need, and sets it up where that has not been done. Throws a UserError (`ENVIRONMENT`)
 * where something is missing for it, or it does not load.
 */
export async function loadEngine(): Promise<typeof import("@spo/torch")> {
  try {
    await setUpOnce();
    return await import("@spo/torch");
  } catch (error) {
    if (error instanceof UserError) throw error;
    const shortage = shortageOf(error);
    if (shortage) throw shortage;
    throw new UserError(`The engine does not load: ${(error as Error).message}`, {
      code: "ENVIRONMENT",
      hint: "Run `npx spo setup --again`; `npx spo doctor` tells what is missing.",
      cause: error,
    });
  }
}

async function setUpOnce(): Promise<void> {
  if (process.env.SPO_ADDON) return;
  const { builtAddon } = await import("@spo/native/libtorch");
  if (!builtAddon()) await setUp();
}

/** Sets the engine up, again: anew, and says how it ended. Throws a UserError (`ENVIRONMENT`) that names what is missing. */
export async function setUp({ again = false, quiet = false } = {}): Promise<AddonRecord> {
  const { readyWords, SetupError, setUpEngine } = await import("@spo/native/libtorch");
  const start = performance.now();
  try {
    const addon = await setUpEngine({ again });
    if (!quiet) say(readyWords(addon, (performance.now() - start) / 1000));
    return addon;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    throw new UserError(error.problem, { code: "ENVIRONMENT", hint: error.fix, cause: error });
  }
}
