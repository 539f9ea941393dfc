/** Whether this Node runs the packages: `engines.node` of their manifests. */
export const nodeIsSupported: boolean;

/** The range in words. */
export const nodeRange: string;
