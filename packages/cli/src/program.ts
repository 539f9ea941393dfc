import { UserError } from "@spo/torch/files";
import { Command, Help, type Option } from "commander";
import { EXIT_CODES } from "./terminal/exit-codes.js";
import { version } from "./terminal/version.js";

interface CommandFile {
  /** Declares options and action; must load no engine before the action runs. */
  default: (command: Command, programFor: typeof buildProgram) => void;
}

/** One file a command, loaded when the command is called. */
const COMMANDS: readonly { name: string; about: string; load: () => Promise<CommandFile> }[] = [
  {
    name: "quickstart",
    about: "from the example's small model to one that is liked more, with a report",
    load: () => import("./commands/quickstart.js"),
  },
  {
    name: "train",
    about: "train a preference model (spm), or a model by it (spo) or by pairs (dpo)",
    load: () => import("./commands/train.js"),
  },
  {
    name: "launch",
    about: "start a training in several processes that do it together",
    load: () => import("./commands/launch.js"),
  },
  {
    name: "dist",
    about: "check that processes find each other, before they train together",
    load: () => import("./commands/dist.js"),
  },
  {
    name: "pretrain",
    about: "make the small models of the example: vae, text-to-image, clip, judge",
    load: () => import("./commands/pretrain.js"),
  },
  {
    name: "data",
    about: "make, check and convert preference pairs",
    load: () => import("./commands/data.js"),
  },
  {
    name: "label",
    about: "preference labels from a scorer, for pairs or generated images",
    load: () => import("./commands/label.js"),
  },
  { name: "sample", about: "make images from prompts", load: () => import("./commands/sample.js") },
  {
    name: "convert",
    about: "write a model or a LoRA in another layout, with adapters merged",
    load: () => import("./commands/convert.js"),
  },
  {
    name: "eval",
    about: "measure models on the same prompts and noise",
    load: () => import("./commands/eval.js"),
  },
  {
    name: "compare",
    about: "base, Diffusion-DPO and SPO by quality over time and work",
    load: () => import("./commands/compare.js"),
  },
  {
    name: "report",
    about: "a training's run as a page, or a quickstart's report anew",
    load: () => import("./commands/report.js"),
  },
  {
    name: "export",
    about: "a run's metrics as csv, parquet or TensorBoard's files",
    load: () => import("./commands/export.js"),
  },
  {
    name: "studio",
    about: "see runs in the browser: candidates of each step, curves, samples",
    load: () => import("./commands/studio.js"),
  },
  {
    name: "plan",
    about: "tell what a job needs before it is started: memory, work, time, money",
    load: () => import("./commands/plan.js"),
  },
  {
    name: "verify",
    about: "compare with golden values of the reference libraries",
    load: () => import("./commands/verify.js"),
  },
  { name: "doctor", about: "check what this machine offers", load: () => import("./commands/doctor.js") },
  {
    name: "setup",
    about: "set the engine up, as the first command that computes does",
    load: () => import("./commands/setup.js"),
  },
  {
    name: "completion",
    about: "a script by which a shell completes commands, options and files",
    load: () => import("./commands/completion.js"),
  },
];

/** The program with the command that `words` call. Of the other commands it has only the names. */
export async function buildProgram(words: readonly string[]): Promise<Command> {
  const program = new Command("npx spo")
    .description("Step-aware Preference Optimization for text-to-image diffusion models")
    .version(version, "-V, --version", "print the version")
    .option("--json", "data for programs on stdout; errors too, as {code, message, hint}")
    .option("-q, --quiet", "no progress")
    .option("-C, --cwd <folder>", "work in this folder")
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true, optionDescription: described })
    .configureOutput({ outputError: () => {} }) // errors are printed in one place, with the exit code
    .exitOverride()
    .hook("preAction", (_, action) => enter(action.optsWithGlobals().cwd))
    .addHelpText("after", () =>
      [
        "",
        "Exit codes:",
        ...EXIT_CODES.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`),
        "",
        "Examples:",
        "  npx spo quickstart --fast",
        "  npx spo train spo sd15 --model ./sd15 --spm ./spm --prompts prompts.txt --run runs/first",
      ].join("\n"),
    );
  const called = words.find((word) => COMMANDS.some(({ name }) => name === word));
  for (const { name, about, load } of COMMANDS) {
    const command = program.command(name).description(about);
    if (name === called) (await load()).default(command, buildProgram);
  }
  return program;
}

/** An option's description, and whether it is required. */
function described(option: Option): string {
  const text = new Help().optionDescription(option);
  return option.mandatory ? `${text} (required)` : text;
}

function enter(folder: string | undefined): void {
  if (folder === undefined) return;
  try {
    process.chdir(folder);
  } catch (error) {
    throw new UserError(`-C ${folder}: ${(error as Error).message}`, { code: "USAGE" });
  }
}
