// @ts-check

/** A thing is missing that the user can mend: what it is, and the command that mends it. */
export class SetupError extends Error {
  /** @type {7} */
  exitCode = 7;

  /**
   * @param {string} problem
   * @param {string} fix
   */
  constructor(problem, fix) {
    super(`${problem}\n  ${fix.replaceAll("\n", "\n  ")}`);
    this.name = "SetupError";
    this.problem = problem;
    this.fix = fix;
  }
}
