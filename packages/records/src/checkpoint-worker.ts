// The thread of `CheckpointThread`.
import { workerData } from "node:worker_threads";
import { UserError } from "@spo/torch/files";
import {
  ANSWERS,
  type CheckpointAnswer,
  type CheckpointTask,
  type CheckpointThreadData,
  STARTED,
} from "./checkpoint-thread.js";
import { fillCheckpoint } from "./write-checkpoint.js";

const { port, signals } = workerData as CheckpointThreadData;
Atomics.store(signals, STARTED, 1);

port.on("message", ({ place, files }: CheckpointTask) => {
  port.postMessage(answerTo(() => fillCheckpoint(place, files)));
  Atomics.add(signals, ANSWERS, 1);
  Atomics.notify(signals, ANSWERS);
});

/** A class does not survive the way to another thread. */
function answerTo(work: () => void): CheckpointAnswer {
  try {
    work();
    return {};
  } catch (error) {
    const { message, stack = message } = error as Error;
    if (!(error instanceof UserError)) return { fault: { message: stack } };
    const { code, hint } = error;
    return { fault: { message, user: { code, hint } } };
  }
}
