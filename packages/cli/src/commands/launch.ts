import { UserError } from "@spo/torch/files";
import { type Command, InvalidArgumentError } from "commander";
import type { LaunchOptions } from "../jobs/launch-plan.js";
import { wholeFrom } from "../options/option-values.js";
import { say } from "../terminal/terminal.js";

const processes = wholeFrom(1, 4096);

export default function (command: Command): void {
  command
    .description(
      "Starts a command in several processes that work together, and ends all when one ends badly. Each learns its place by torchrun's variables; rank 0 prints as ever.",
    )
    .argument("<command...>", "after --: spo and its words, or another program")
    .option(
      "--nproc <number>",
      "processes on this machine; auto: one a GPU, else as many as train fastest; default: 1",
      countOrAuto,
    )
    .option("--nnodes <number>", "machines; default: 1", wholeFrom(1, 100_000))
    .option("--node-rank <number>", "of this machine, from 0", wholeFrom(0, 99_999))
    .option("--master <host:port>", "of machine 0, which all others must reach")
    .addHelpText(
      "after",
      [
        "",
        "What is left out is read from PET_NPROC_PER_NODE, PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and",
        "PET_MASTER_PORT (Kubeflow), or from SkyPilot's variables. Each process has one thread unless OMP_NUM_THREADS is",
        "set, and a GPU of its own where there are several. A signal is handed on to all.",
        "--nproc auto without a GPU tries a training for three steps with each number of processes that shares the",
        "cores out evenly, and says what each takes; other commands get a process a core.",
        "The exit code is that of the first process that ends badly.",
        "",
        "Examples:",
        "  npx spo launch --nproc 4 -- spo train spo my.json --run runs/four",
        "  npx spo launch --nproc 8 --nnodes 2 --node-rank 1 --master node-0:29500 -- spo train dpo my.json --run runs/dpo",
      ].join("\n"),
    )
    .action(async (words: [string, ...string[]]) => {
      if (words[0] === "")
        throw new UserError("The command behind -- is empty.", {
          code: "USAGE",
          hint: "For example: npx spo launch --nproc 2 -- spo train spo my.json --run runs/two",
        });
      const { factsOfMachine, launch } = await import("../jobs/launch.js");
      const { quiet, ...options } = command.optsWithGlobals<LaunchOptions & { quiet?: boolean }>();
      process.exitCode = await launch({
        ...{ options, words, command: itself(words) },
        facts: factsOfMachine(),
        ...{ say, tell: quiet ? () => {} : say },
      });
    });
}

function countOrAuto(text: string): number | "auto" {
  if (text === "auto") return text;
  try {
    return processes(text);
  } catch {
    throw new InvalidArgumentError("It is auto or a whole number from 1 to 4096.");
  }
}

/** `spo` and `npx spo` are this program, whatever the shell's path has. */
function itself(words: [string, ...string[]]): [string, ...string[]] {
  const named = words[0] === "npx" && words[1] === "spo" ? words.slice(1) : words;
  if (named[0] !== "spo") return words;
  return [process.execPath, process.argv[1] as string, ...named.slice(1)];
}
