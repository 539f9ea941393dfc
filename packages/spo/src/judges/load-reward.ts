import * as scorers from "@spo/scorers";
import { loadSpmReward } from "./spm-reward.js";

/**
 * Loads a scorer of finished images: those of `@spo/scorers`, and the step-aware preference model (`spm:PATH`).
 *
 * spec: `NAME:PATH[,OPTION=PATH…]`, or the path of a module of the user's own. Paths are on this machine.
 * Throws UserErrors for what is missing, damaged, of another family or does not fit.
 */
export const loadReward = (
  spec: string | scorers.RewardSpec,
  options: Omit<scorers.RewardLoadOptions, "spm"> = {},
): Promise<scorers.Reward> => scorers.loadReward(spec, { ...options, spm: loadSpmReward });
