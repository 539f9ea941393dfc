// @ts-check

/** What "held out" means in the example, for the line below a table. */
export const HELD_OUT =
  "Held out: in no pair that is trained on, in no round of SPO, and unknown to the judge that chose the settings; the base and the CLIP that the " +
  "preference model begins as, or was distilled from, know these things.";
