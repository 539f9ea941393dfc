// @ts-check
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

/** The range that is `engines.node` of package.json, in words. */
export const nodeRange = "20.19 or later, 22.12 or later, 24 or later";
export const nodeIsSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
