// A process that does one job of a comparison. It ends with the job, or when the process that started it ends.

import { evaluate } from "./evaluation-job.js";
import type { FromWorker, ToWorker } from "./job-messages.js";
import { faultMessage } from "./job-messages.js";
import type { Job, JobProgress } from "./jobs.js";
import { trainPolicy, trainPreferenceModel } from "./train-job.js";

const controller = new AbortController();
const tell = (message: FromWorker): void => void process.send?.(message);

// A terminal's Ctrl-C reaches all processes of a group; the one that began the comparison decides what it means.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"] as const) process.on(name, () => {});
process.on("disconnect", () => process.exit());
process.on("message", (message: ToWorker) => {
  if (message.type === "stop") controller.abort(new Error("stopped"));
  else void work(message.job);
});

async function work(job: Job): Promise<void> {
  try {
    for await (const progress of progressOf(job)) tell({ type: "progress", progress });
    tell({ type: "done" });
  } catch (error) {
    tell(
      controller.signal.aborted && error === controller.signal.reason
        ? { type: "stopped" }
        : faultMessage(error),
    );
  }
}

function progressOf(job: Job): AsyncGenerator<JobProgress> {
  switch (job.kind) {
    case "spm":
      return trainPreferenceModel(job, controller.signal);
    case "policy":
      return trainPolicy(job, controller.signal);
    case "evaluation":
      return evaluate(job, controller.signal);
  }
}
