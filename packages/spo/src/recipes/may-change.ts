// Which settings of an existing training may change without making its result another one.
import type { MayChange } from "@spo/records";

/** The device, the output, and how often checkpoints are saved. */
const ALWAYS = ["device", "output", "saveEvery"];

const BY_KIND: Partial<Record<string, MayChange>> = {
  "train spo": {
    settings: [
      "microBatch",
      "reduce",
      "samplingBatch",
      "vaeSlicing",
      "offload",
      "promptCache",
      "stripEvery",
      "sampleEvery",
    ],
    length: "rounds",
  },
  "train dpo": {
    settings: ["microBatch", "reduce", "vaeSlicing", "promptCache", "evalEvery", "sampleEvery", "readAhead"],
    length: "steps",
  },
  // No length: its learning rate falls to 0 at the last step, so another end means other steps before it.
  "train spm": { settings: ["microBatch", "reduce", "vaeSlicing", "promptCache", "evalEvery", "readAhead"] },
};

/** Settings that a run of a kind, opened again, may be given anew. The `pretrain` kinds have no length: their rate falls with it. */
export function mayChange(kind: string): MayChange {
  const { settings = [], length } = BY_KIND[kind] ?? {};
  return { settings: [...ALWAYS, ...settings], length };
}
