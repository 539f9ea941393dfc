// @ts-check
// Imported for its effect: ends the process with one clear line when Node is too old.
import { nodeIsSupported, nodeRange } from "./node-version.js";

if (!nodeIsSupported) {
  process.stderr.write(
    `\nset-up: Node ${process.versions.node} is too old or not a supported line; ${nodeRange} is needed.\n`,
  );
  process.stderr.write(
    "  Install one from your system's packages or with a version manager: nvm install 22\n",
  );
  process.exit(7);
}
