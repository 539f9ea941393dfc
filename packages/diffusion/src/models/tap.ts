import type { Tensor } from "@spo/torch";

/** Sees an intermediate value by its name; for tests and inspection. */
export type Tap = (name: string, value: Tensor) => void;
