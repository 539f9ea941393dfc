// Trainings of the end-to-end tests, in the test's own process, and what they leave behind.
import { join } from "node:path";
import { computedPart, type Event, Run, readRun } from "@spo/records";
import { readSafetensors } from "@spo/torch";
import type { RecipeEvent, RecipeOptions } from "spo/recipes";

/** A training's run in a folder. */
interface Training<Config> {
  /** Of the run's folder. */
  name: string;
  config: Config;
  /** Interrupted after this step, as by Ctrl-C. */
  stopAfter?: number;
}

/** Trainings whose runs are folders of one folder, by name. */
export function trainingsIn(folder: string) {
  const eventsOf = (name: string): Event[] => readRun(join(folder, name)).events;
  return {
    eventsOf,

    async train<Config extends object>(
      kind: string,
      recipe: (config: Config, options: RecipeOptions) => AsyncGenerator<RecipeEvent>,
      { name, config, stopAfter }: Training<Config>,
    ): Promise<void> {
      const controller = new AbortController();
      const run = Run.open(join(folder, name), { kind, config });
      try {
        for await (const event of recipe(config, { run, signal: controller.signal }))
          if (event.type === "step" && event.step === stopAfter) controller.abort(new Error("stopped"));
      } finally {
        run.close();
      }
    },

    /** Of each step. */
    metricsOf: (name: string): Record<string, number | null>[] =>
      eventsOf(name).flatMap((event) => (event.type === "step" ? [event.metrics] : [])),

    /** What two equal trainings have alike. */
    computed: (name: string) => computedPart(eventsOf(name)).filter(({ type }) => type !== "done"),

    /** Every number of a result's file, which besides says when it was written. */
    weightsOf: (name: string, file = "pytorch_lora_weights.safetensors"): [string, number[]][] =>
      [...readSafetensors(join(folder, name, "model", file))].map(([key, value]) => [key, value.toNumbers()]),
  };
}
