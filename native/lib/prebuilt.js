// @ts-check
/** Platforms for which a package holds a compiled addon, as `process.platform`-`process.arch`. */
export const PREBUILT_PLATFORMS = /** @type {const} */ (["linux-x64", "linux-arm64"]);

/** @param {string} platform */
export const prebuiltName = (platform) => `@spo/native-${platform}`;
