import { requirePlace } from "@spo/torch/files";
import type { Command } from "commander";
import type { CommonOptions } from "../options/common-options.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, say } from "../terminal/terminal.js";

type Options = CommonOptions & { output: string };

export default function (command: Command): void {
  command
    .description("Unpacks the images and lists of tar files, whole or cut into parts.")
    .argument(
      "<archives...>",
      "images.tar, images.tar.gz, or all parts of one: images.tar.gz.00, images.tar.part1, …",
    )
    .requiredOption("-o, --output <folder>", "where they go, in the folders of the archive")
    .addHelpText(
      "after",
      [
        "",
        "Links, devices and files of other kinds are passed over, names that lead outside are refused.",
        "Stopped, the same command goes on: what is there already is left as it is.",
        "",
        "Examples:",
        "  npx spo data unpack hpdv3/images.tar.gz.* --output hpdv3",
        "  npx spo data import hpdv3/train.json --output pairs.parquet",
      ].join("\n"),
    )
    .action(async (paths: string[]) => {
      const { output, json, quiet } = command.optsWithGlobals<Options>();
      requirePlace(output, "folder");
      const { archivesOf, unpackArchive } = await import("@spo/data");
      const bar = new ProgressBar({ quiet });
      const signal = interruptible((text) => bar.say(text));
      const archives = [];
      for (const archive of archivesOf(paths)) {
        const unpacked = await unpackArchive(archive, output, {
          signal,
          onProgress: (done, total) => bar.advance({ stage: "bytes", done, total }),
        });
        archives.push({ name: archive.name, parts: archive.parts.length, ...unpacked });
      }
      bar.end();
      if (json) putJson({ schema: "spo.unpacked/1", output, archives });
      for (const { name, files, passedOver } of archives)
        say(
          `${name}: ${files} files in ${output}${passedOver > 0 ? `, ${passedOver} others passed over` : ""}`,
        );
    });
}
