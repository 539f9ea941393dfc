import { requirePlace } from "@spo/torch/files";
import type { Command } from "commander";
import type { SideBySideOptions } from "../jobs/side-by-side-set.js";

export default function (command: Command): void {
  command
    .description(
      "Makes a set that people judge, of images that models made of the same prompts and seeds. Of one folder alone, its images of a prompt two by two.",
    )
    .argument(
      "<folders...>",
      "NAME=FOLDER of images, as `spo sample` writes them; without NAME= the folder's name",
    )
    .requiredOption("-o, --output <folder>", "a new folder, beside the runs that Studio shows")
    .option("--skip-broken", "leave out pairs with broken images")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  npx spo data side-by-side base=images/base spo=images/spo --output runs/base-or-spo",
        "  npx spo data side-by-side images/base --output runs/taste",
      ].join("\n"),
    )
    .action(async (folders: string[]) => {
      const options = command.optsWithGlobals<SideBySideOptions>();
      requirePlace(options.output, "folder");
      const { sideBySideSet } = await import("../jobs/side-by-side-set.js");
      await sideBySideSet(folders, options);
    });
}
