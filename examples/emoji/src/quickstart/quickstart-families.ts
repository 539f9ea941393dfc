// The example's models that a quickstart can post-train. No tensor code: help and checks need no engine.
import { UserError } from "@spo/torch/files";

/** What the preference model looks at. */
export type QuickstartJudge = "latent" | "pixel";

/** By family, in an example's folder: the model, and the judges that it has settings for, the usual one first. */
export const QUICKSTART_FAMILIES = {
  sd15: { model: "model", judges: ["latent", "pixel"] },
  sd3: { model: "model-sd3", judges: ["pixel"] },
} as const;

/** Which of the example's models is post-trained. */
export type QuickstartFamily = keyof typeof QUICKSTART_FAMILIES;

/** What a quickstart reads of an example's folder. */
export interface QuickstartFiles {
  model: string;
  settings: string;
  /** In results/, where it is there: what random labels reached, everything else equal. */
  control: string;
}

/** Throws a UserError (`CONFIG`) for a judge that the family has no settings for. */
export function quickstartFiles(family: QuickstartFamily = "sd15", judge?: QuickstartJudge): QuickstartFiles {
  const { model } = QUICKSTART_FAMILIES[family];
  const judges: readonly QuickstartJudge[] = QUICKSTART_FAMILIES[family].judges;
  if (judge !== undefined && !judges.includes(judge))
    throw new UserError(`The example has no ${judge} judge for the family ${family}.`, {
      code: "CONFIG",
      hint: `It has: ${judges.join(", ")}.`,
    });
  const parts = [family !== "sd15" && family, judge !== judges[0] && judge];
  const end = parts
    .filter(Boolean)
    .map((part) => `-${part}`)
    .join("");
  return { model, settings: `quickstart${end}.json`, control: `random-labels${end}.json` };
}
