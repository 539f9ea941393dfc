/** One comparison of a computed tensor with a golden one. */
export interface Case {
  case: string;
  /** Largest absolute difference (or as the check's name says). NaN where shapes differ. */
  maxError: number;
  tolerance: number;
}

/** A group of comparisons over golden files of the documented form. */
export interface Check {
  name: string;
  /** Files and folders that it reads, relative to the fixtures' folder. */
  files: readonly string[];
  /** dir: the fixtures' folder. Throws when a file is damaged or of another form. */
  run(dir: string): Promise<Case[]> | Case[];
}
