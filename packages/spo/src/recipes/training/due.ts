/** Whether work that is due every `every` steps is due after this one: at each multiple, and at the end. step: 1 for the first. */
export const isDue = (step: number, every: number, total: number): boolean =>
  step % every === 0 || step === total;

/** How many times more it will be due after this step. */
export const timesDueAfter = (step: number, every: number, total: number): number =>
  Math.floor(total / every) - Math.floor(step / every) + Number(total % every !== 0 && step < total);

/** Whether a round's candidates are kept as images: every so many rounds from the first, and in the last. round: 0 for the first. */
export const stripIsDue = (round: number, every: number, rounds: number): boolean =>
  round % every === 0 || round === rounds - 1;

/**
 * Whether a checkpoint is to be written after a step, 1 for the first.
 *
 * isSound: whether the weights may be trusted; else the checkpoints before this step are kept. isAsked: one is asked for, or the training
 * is about to end before its time.
 */
export const checkpointIsDue = (
  step: number,
  { every, total, isSound, isAsked }: { every: number; total: number; isSound: boolean; isAsked: boolean },
): boolean => isSound && (isAsked || isDue(step, every, total));
