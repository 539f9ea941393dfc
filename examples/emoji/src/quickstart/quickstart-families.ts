// The example's models that a quickstart can post-train. No tensor code: help and checks need no engine.
import { UserError } from "@spo/torch/files";

/**
 * By family, in an example's folder: the model, the settings of its quickstart by what the judge looks at, the usual first, and what random
 * labels reached with the usual.
 */
export const QUICKSTART_FAMILIES = {
  sd15: {
    model: "model",
    settings: { pixel: "quickstart.json", latent: "quickstart-latent.json" },
    control: "random-labels.json",
  },
  sd3: {
    model: "model-sd3",
    settings: { pixel: "quickstart-sd3.json" },
    control: "random-labels-sd3.json",
  },
} as const;

/** Which of the example's models is post-trained. */
export type QuickstartFamily = keyof typeof QUICKSTART_FAMILIES;

/** What the preference model looks at. */
export type QuickstartJudge = "latent" | "pixel";

/** What a quickstart reads of an example's folder. */
export interface QuickstartFiles {
  model: string;
  settings: string;
  /** A result with random labels and everything else equal. */
  control?: string;
}

/** Throws a UserError (`CONFIG`) for a judge that the family has no settings for. */
export function quickstartFiles(family: QuickstartFamily = "sd15", judge?: QuickstartJudge): QuickstartFiles {
  const { model, settings, control } = QUICKSTART_FAMILIES[family];
  const byJudge: Partial<Record<QuickstartJudge, string>> = settings;
  const [usual] = Object.values(settings) as [string];
  const chosen = judge === undefined ? usual : byJudge[judge];
  if (chosen === undefined)
    throw new UserError(`The example has no ${judge} judge for the family ${family}.`, {
      code: "CONFIG",
      hint: `It has: ${Object.keys(settings).join(", ")}.`,
    });
  return { model, settings: chosen, ...(chosen === usual && { control }) };
}
