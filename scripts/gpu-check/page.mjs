// @ts-check
// The results as a page in Markdown: one row a step, then what failed.

/** @typedef {import("./run-steps.mjs").Outcome} Outcome */

/** @typedef {ReturnType<typeof import("../bench/machine.mjs").machine>} Machine */

/** @param {{ started: string, device: string, dryRun: boolean, machine: Machine, steps: readonly Outcome[] }} record */
export function pageOf({ started, device, dryRun, machine, steps }) {
  const count = (/** @type {Outcome["state"]} */ state) =>
    steps.filter((step) => step.state === state).length;
  const faults = steps.filter(({ fault }) => fault !== null);
  return [
    `# GPU check${dryRun ? ", dry run" : ""}`,
    "",
    `${started}, on ${device}; ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}.`,
    `${count("ok")} steps ok, ${count("failed")} failed, ${count("left out")} left out.`,
    "",
    "| step | shows | | seconds | GPU memory, MiB | figures |",
    "| --- | --- | --- | --- | --- | --- |",
    ...steps.map(({ name, what, state, seconds, gpuPeakMiB, figures }) =>
      row([name, what, state, seconds.toFixed(1), gpuPeakMiB === null ? "" : `${gpuPeakMiB}`, told(figures)]),
    ),
    "",
    ...faults.flatMap(({ name, fault }) => [
      `## ${name}`,
      "",
      "```",
      `${fault}`.trim().replaceAll("```", "'''"),
      "```",
      "",
    ]),
  ].join("\n");
}

/** @param {readonly string[]} cells */
const row = (cells) =>
  `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;

/** @param {Record<string, unknown>} figures */
const told = (figures) =>
  Object.entries(figures)
    .map(([name, value]) => `${name} ${typeof value === "number" ? shortest(value) : value}`)
    .join(", ");

/** @param {number} x */
const shortest = (x) => (Number.isInteger(x) ? `${x}` : x.toPrecision(4));
