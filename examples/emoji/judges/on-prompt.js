// The example's reporting judge, as `spo eval --metrics FILE` and `spo compare` take a scorer of one's own.
import { fileURLToPath } from "node:url";
import { onPromptScorer } from "@spo/example-emoji";

export default onPromptScorer(fileURLToPath(new URL("../judge", import.meta.url)));
