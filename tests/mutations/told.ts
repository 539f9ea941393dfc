// What a process that reads cases is given, and what it tells.
import type { Verdict } from "./judge-case.js";

/** Cases of a kind, from `from` to below `to`. */
export interface Task {
  kind: string;
  from: number;
  to: number;
}

/** One line on descriptor 3. Case −1 is the sound files. again: a case that was read already, to find what leaks. */
export type Told =
  | { begins: number; kind: string }
  | ({ ends: number; kind: string; again?: true } & Verdict)
  | { made: true };

/** Exit code of a process that ends because of a case that it has told of. */
export const TOLD = 9;
