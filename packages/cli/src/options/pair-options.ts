// What the commands about preference sets share.

import { LAYOUTS, type Layout, SOFT_LABELS, type SoftLabels } from "@spo/data/preference";
import { type Command, Option } from "commander";

export interface SetOptions {
  layout?: Layout;
  allowOutside?: boolean;
  softLabels?: SoftLabels;
}

/** What opens a set as the options say. */
export const openingOf = ({ layout, allowOutside, softLabels }: SetOptions): SetOptions => ({
  layout,
  allowOutside,
  softLabels,
});

/** The options by which a set is read. */
export const addSetOptions = (command: Command): Command =>
  command
    .addOption(layoutOption())
    .addOption(allowOutsideOption())
    .addOption(
      new Option("--soft-labels <how>", "what counted votes become: v₀/(v₀+v₁), (v₀+1)/(v₀+v₁+2), or a win")
        .choices(SOFT_LABELS)
        .default("share"),
    );

/** The options that choose pairs by the models of their images. */
export const addModelOptions = (command: Command): Command =>
  command.option("--same-model", "only pairs whose two images are by one model").addOption(
    new Option(
      "--models <names>",
      "only pairs whose images are both by these models, with commas between",
    ).argParser((text) =>
      text
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== ""),
    ),
  );

/** Images of a list may lie anywhere. */
export const allowOutsideOption = (): Option =>
  new Option("--allow-outside", "images may lie outside of the list's folder; only for lists that you trust");

export const layoutOption = (): Option =>
  new Option("--layout <layout>", "of what is read; default: seen from the files' names").choices(LAYOUTS);

/** Whether a set in this layout is one file or a folder. */
export const placeOf = (layout: Layout | "votes"): "file" | "folder" =>
  layout === "parquet" || layout === "votes" ? "file" : "folder";
