// The largest values of settings: far above all uses, and low enough that memory and time stay finite.

/** Updates or rounds of a training, and between two of its saves or measurements. */
export const MOST_STEPS = 100_000_000;
/** Sampling steps: timesteps of a noise schedule. */
export const MOST_SAMPLING_STEPS = 1000;
/** Pairs, images or prompts that are counted out at once: of a batch, a bank, a measurement. */
export const MOST_SAMPLES = 1_000_000;
/** Prompts of one rollout, whose candidates are in memory together. */
export const MOST_PROMPTS = 10_000;
/** Candidates of one x_t. */
export const MOST_CANDIDATES = 1000;
/** Side of an image, pixels, or of a map within. */
export const MOST_PIXELS = 16_384;
/** Channels, widths, ranks, heads and layers of a network. */
export const MOST_CHANNELS = 65_536;
/** Classifier-free guidance, towards the prompt or away from it. */
export const MOST_GUIDANCE = 1000;
/** Factors that multiply a loss, a gradient or an update: with more float32 overflows. */
export const MOST_FACTOR = 1e30;
/** Megabytes of memory: 1 TB. */
export const MOST_MEGABYTES = 1_048_576;
/** Seconds: three years. */
export const MOST_SECONDS = 100_000_000;
/** Processes or threads. */
export const MOST_PROCESSES = 4096;
/** Of what is drawn: what a number holds exactly. */
export const MOST_SEED = Number.MAX_SAFE_INTEGER;
