import type { Command } from "commander";
import type { z } from "zod";

/** What the words of a command may be besides its options. */
export interface SettingsWords {
  schema: z.ZodType;
  /** Names of presets. */
  presets: readonly string[];
}

const taken = new WeakMap<Command, SettingsWords>();

/** Says that a command's words are settings of a schema, presets and config files, none of which the parser of options knows. */
export const takeSettings = (command: Command, words: SettingsWords): Command => {
  taken.set(command, words);
  return command.allowUnknownOption();
};

/** What `takeSettings` said; undefined for a command that takes no settings. */
export const settingsWordsOf = (command: Command): SettingsWords | undefined => taken.get(command);
