// The end of one of several processes, told to the others.
import type { UserErrorCode } from "@spo/torch/files";
import { type LaunchPlace, launchPlace } from "@spo/torch/launch-place";
import type { Fault } from "./terminal/exit-codes.js";

/** First words of the commands that several processes do together. */
const TOGETHER = ["train", "sample", "eval", "label", "quickstart", "dist"];

/** Tells the processes that a launcher started with this one why it ends. command: as its words are, `train spo`. */
export async function tellRanks(
  command: string | undefined,
  { code, message, hint }: Omit<Fault, "exitCode">,
): Promise<void> {
  const place = ownPlace();
  if (!place || place.size === 1 || code === "INTERRUPTED") return;
  if (!TOGETHER.includes(command?.split(" ", 1)[0] ?? "")) return;
  const reason =
    code === "BUG"
      ? ({ code: "RESOURCE", message: `It met a bug: ${message}` } as const)
      : { code: code as UserErrorCode, message, hint };
  try {
    const { tellOthers } = await import("@spo/torch/distributed");
    await tellOthers(place, reason);
  } catch {
    // Without an engine nobody can be told.
  }
}

/** Undefined too where the launcher's variables do not fit, which is then what is told here. */
function ownPlace(): LaunchPlace | undefined {
  try {
    return launchPlace(process.env);
  } catch {
    return undefined;
  }
}
