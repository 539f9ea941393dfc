import { UserError } from "@spo/torch/files";
import { onWarning } from "@spo/torch/warnings";
import { CommanderError } from "commander";
import { buildProgram } from "./program.js";
import { faultOf } from "./terminal/exit-codes.js";
import { refuseNpmBanner } from "./terminal/npm-banner.js";
import { painter, putJson, say } from "./terminal/terminal.js";

/** Runs the command line and sets the exit code. argv: as `process.argv`. */
export async function run(argv: readonly string[] = process.argv): Promise<void> {
  // A reader that has had enough, as `head` does, is no fault.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  const words = argv.slice(2);
  const warned = new Set<string>(); // a model that is loaded twice is told of once
  onWarning((message) => {
    if (!warned.has(message)) say(painter(process.stderr)("yellow", `warning: ${message}`));
    warned.add(message);
  });
  try {
    refuseNpmBanner(words);
    const program = await buildProgram(words);
    await program.parseAsync(words, { from: "user" });
  } catch (thrown) {
    const error = thrown instanceof CommanderError ? usageFault(thrown) : thrown;
    if (error === undefined) return;
    const { exitCode, stack, ...fault } = faultOf(error);
    process.exitCode = exitCode;
    const paint = painter(process.stderr);
    if (fault.code === "INTERRUPTED") say(fault.message);
    else if (stack) say(`${paint("red", "spo: this is a bug.")}\n${stack}`);
    else say(`${paint("red", "spo:")} ${fault.message}${fault.hint ? `\n${paint("dim", fault.hint)}` : ""}`);
    // The end of options is not known when they are at fault.
    if (words.includes("--json")) putJson({ schema: "spo.error/1", ...fault, stack });
  }
}

/** Help and version are no faults: undefined. */
function usageFault({ code, message, exitCode }: CommanderError): UserError | undefined {
  if (exitCode === 0 || code === "commander.helpDisplayed" || code === "commander.version") return undefined;
  if (code === "commander.help")
    return new UserError("A command is missing.", { code: "USAGE", hint: "npx spo --help lists them." });
  return new UserError(message.replace(/^error: /, ""), {
    code: "USAGE",
    hint: "--help lists what there is.",
  });
}
