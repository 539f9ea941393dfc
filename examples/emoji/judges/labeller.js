// The judge that labels the example's pairs, as `spo eval --metrics FILE` and `spo compare` take a scorer of one's own.
import { fileURLToPath } from "node:url";
import { artworkScorer } from "@spo/example-emoji";

export default artworkScorer(fileURLToPath(new URL("../labeller", import.meta.url)));
