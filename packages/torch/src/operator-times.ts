import { native } from "@spo/native";

/** What one operator has cost. */
export interface OperatorTime {
  /** As libtorch calls it: `aten::addmm`. */
  name: string;
  calls: number;
  /** CPU seconds of the threads that called it, without those of the operators that it called itself. */
  seconds: number;
}

/**
 * Counts the calls of all operators, those of autograd too, until it is disposed of. One at a time in a process.
 *
 * Helping threads of an operator are not in its time, and on a GPU no more than the call is.
 */
export class OperatorTimes implements Disposable {
  constructor() {
    native.operatorTimes(true);
  }

  /** What was counted since the last time, the dearest first. */
  take(): OperatorTime[] {
    const entries = native.operatorTimes(true);
    const times: OperatorTime[] = [];
    for (let i = 0; i < entries.length; i += 3) {
      const [name, calls, seconds] = entries.slice(i, i + 3) as [string, number, number];
      times.push({ name, calls, seconds });
    }
    return times.sort((a, b) => b.seconds - a.seconds);
  }

  [Symbol.dispose](): void {
    native.operatorTimes(false);
  }
}
