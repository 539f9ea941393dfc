// The example's models that a quickstart can post-train. No tensor code: help and checks need no engine.

/** By family: the folder of the model, the settings of its quickstart, and what random labels reached, in an example's folder. */
export const QUICKSTART_FAMILIES = {
  sd15: { model: "model", settings: "quickstart.json", control: "random-labels.json" },
  sd3: { model: "model-sd3", settings: "quickstart-sd3.json", control: "random-labels-sd3.json" },
} as const;

/** Which of the example's models is post-trained. */
export type QuickstartFamily = keyof typeof QUICKSTART_FAMILIES;
