import { UserError } from "@spo/torch/files";
import { onWarning } from "@spo/torch/warnings";
import { type Command, CommanderError } from "commander";
import { inShownSpelling } from "./options/shown-spelling.js";
import { buildProgram } from "./program.js";
import { tellRanks } from "./tell-ranks.js";
import { faultOf } from "./terminal/exit-codes.js";
import { refuseNpmBanner } from "./terminal/npm-banner.js";
import { painter, putJson, say } from "./terminal/terminal.js";

/** Runs the command line and sets the exit code. argv: as `process.argv`. */
export async function run(argv: readonly string[] = process.argv): Promise<void> {
  // A reader that stops early, as `head` does, is no error.
  if (!process.stdout.listeners("error").includes(onClosed)) process.stdout.on("error", onClosed);
  const words = withoutHelpCommand(argv.slice(2));
  const warned = new Set<string>(); // a model that is loaded twice is warned of once
  const stopListening = onWarning((message) => {
    if (!warned.has(message)) say(painter(process.stderr)("yellow", `warning: ${message}`));
    warned.add(message);
  });
  let program: Command | undefined;
  try {
    refuseNpmBanner(words);
    program = await buildProgram(words);
    const shown = inShownSpelling(words, calledCommand(program, words));
    await program.parseAsync(shown, { from: "user" });
  } catch (thrown) {
    const error = thrown instanceof CommanderError ? await usageFault(thrown, program, words) : thrown;
    if (error === undefined) return;
    const { exitCode, stack, ...fault } = faultOf(error);
    process.exitCode = exitCode;
    const paint = painter(process.stderr);
    if (fault.code === "INTERRUPTED") say(fault.message);
    else if (stack) say(`${paint("red", "spo: this is a bug.")}\n${stack}`);
    else say(`${paint("red", "spo:")} ${fault.message}${fault.hint ? `\n${paint("dim", fault.hint)}` : ""}`);
    // Where options are wrong, `--` is not known to end them.
    if (words.includes("--json")) putJson({ schema: "spo.error/1", ...fault, stack });
    await tellRanks(program && pathOf(calledCommand(program, words)), fault);
  } finally {
    stopListening();
  }
}

function onClosed(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}

/** `help train spo` is `train spo --help`. */
function withoutHelpCommand(words: readonly string[]): string[] {
  return words[0] === "help" ? [...words.slice(1), "--help"] : [...words];
}

/** The error of a wrong call; undefined for help and version. */
async function usageFault(
  { code, message, exitCode }: CommanderError,
  program: Command | undefined,
  words: readonly string[],
): Promise<UserError | undefined> {
  if (exitCode === 0 || code === "commander.helpDisplayed" || code === "commander.version") return undefined;
  const command = program && calledCommand(program, words);
  const path = command?.name() === program?.name() ? "" : `${pathOf(command)} `;
  const help = `npx spo ${path}--help lists what there is.`;
  const inner = command?.createHelp().visibleCommands(command) ?? [];
  const names = inner.map((each) => each.name());
  const listed =
    names.length > 0 ? `${path ? `${path}has` : "There are"} ${names.join(", ")}. ${help}` : help;
  if (code === "commander.help")
    return new UserError("A command is missing.", { code: "USAGE", hint: listed });
  const [first = ""] = message.replace(/^error: /, "").split("\n", 1);
  return new UserError(`${first}${await suggestion(code, first, { command, names, words })}`, {
    code: "USAGE",
    hint: listed,
  });
}

/** "; did you mean …?" for an option or command that there is not. */
async function suggestion(
  code: string,
  message: string,
  { command, names, words }: { command?: Command; names: readonly string[]; words: readonly string[] },
): Promise<string> {
  const { meant } = await import("@spo/records/config"); // only a fault needs it
  const word = /'(-{0,2})([^'=]+)[^']*'/.exec(message)?.[2] ?? "";
  if (code === "commander.unknownCommand") {
    const name = meant(word, names);
    return name ? `; did you mean ${name}?` : "";
  }
  const options = [command, command?.parent, command?.parent?.parent].flatMap((each) => each?.options ?? []);
  const flags = new Map(options.map((option) => [option.attributeName(), option.long ?? option.flags]));
  const flagFor = (word: string): string | undefined => flags.get(meant(word, [...flags.keys()]) ?? "");
  if (code === "commander.unknownOption") {
    const flag = flagFor(word);
    if (flag) return `; did you mean ${flag}?`;
    return command?.name() === "launch" && !words.includes("--")
      ? "; the command to start stands behind --"
      : "";
  }
  if (code !== "commander.missingMandatoryOptionValue") return "";
  // It may be there, mistyped: that it is unknown would be told only after what is missing.
  const missing = /--[\w-]+/.exec(message)?.[0];
  const mistyped = words
    .flatMap((given) => /^--\w[^=]*/.exec(given) ?? [])
    .find((given) => flagFor(given.slice(2)) === missing);
  return mistyped ? `; is ${mistyped} meant to be it?` : "";
}

/** The innermost command that the words name. */
function calledCommand(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const word of words) command = command.commands.find((each) => each.name() === word) ?? command;
  return command;
}

/** `train spo`. */
function pathOf(command: Command | undefined): string {
  const names: string[] = [];
  for (let at = command; at?.parent; at = at.parent) names.unshift(at.name());
  return names.join(" ");
}
