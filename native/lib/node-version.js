// @ts-check
// Imported for its effect: ends the process with one clear line when Node is too old. The range is `engines.node` of package.json.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

export const nodeRange = "20.19 or later, 22.12 or later, 24 or later";
export const nodeIsSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;

if (!nodeIsSupported) {
  process.stderr.write(
    `\nset-up: Node ${process.versions.node} is too old or not a supported line; ${nodeRange} is needed.\n`,
  );
  process.stderr.write(
    "  Install one from your system's packages or with a version manager: nvm install 22\n",
  );
  process.exit(7);
}
