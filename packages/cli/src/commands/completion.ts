import { realpathSync } from "node:fs";
import { Argument, type Command } from "commander";
import { completionScript, SHELLS, type Shell } from "../jobs/completion-scripts.js";

/** programFor: the program as it reads some words. */
export default function (command: Command, programFor: (words: readonly string[]) => Promise<Command>): void {
  command
    .summary("a script by which a shell completes commands, options and files")
    .description("Prints a script by which a shell completes commands, options, their values and files.")
    .helpCommand(false)
    .usage("<shell>")
    .addArgument(new Argument("<shell>", "whose script").choices(SHELLS))
    .addHelpText(
      "after",
      [
        "",
        "It completes `spo`, and `npx spo` as well. Call it where the shell starts:",
        '  ~/.bashrc                    eval "$(npx spo completion bash)"',
        '  ~/.zshrc, behind compinit    eval "$(npx spo completion zsh)"',
        "  ~/.config/fish/config.fish   npx spo completion fish | source",
        "",
        "Examples:",
        "  npx spo completion bash > spo-completion.bash",
      ].join("\n"),
    )
    .action((shell: Shell) => {
      const program = realpathSync(process.argv[1] as string);
      process.stdout.write(completionScript(shell, [process.execPath, program, "completion", "words", "--"]));
    });
  command
    .command("words", { hidden: true })
    .description("What may stand in place of the last word, a line each.")
    .argument("<words...>")
    .action(async (words: string[]) => {
      const { candidatesFor } = await import("../jobs/candidates.js");
      const { words: found, files } = candidatesFor(await programFor(words), words);
      const lines = found.map(({ word, about }) => `${word}\t${about}`);
      process.stdout.write([...lines, ...(files ? [`:${files}`] : []), ""].join("\n"));
    });
}
