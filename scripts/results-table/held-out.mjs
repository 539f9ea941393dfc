// @ts-check

/** What "held out" means in the example, for the line below a table. */
export const HELD_OUT =
  "Held out: in no pair that is trained on and in no round of SPO; the base and the CLIP that the preference model begins as know these things.";
