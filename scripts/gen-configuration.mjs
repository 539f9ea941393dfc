// @ts-check
// Writes docs/configuration.md and the types of the settings from the schemas and presets of the recipes, so that they cannot drift from
// what is checked.
// `node scripts/gen-configuration.mjs` writes; with --check it only compares and exits 1 on a difference.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXAMPLE_SCHEMAS } from "@spo/example-emoji/schemas";
import { kebabCase, settingsOf } from "@spo/records/config";
import { dpoPresets, spmPresets, spoPresets } from "spo/presets";
import { SCHEMAS } from "spo/schemas";
import { say } from "../native/lib/say.js";
import { settingsTypes } from "./settings-types.mjs";
import { root } from "./setup/root.mjs";

const ALL = { ...SCHEMAS, ...EXAMPLE_SCHEMAS };

/** @typedef {keyof typeof ALL} RecipeKind */
/** @typedef {{ about: string, presets?: Readonly<Record<string, object>> }} Section */

/** @type {Readonly<Record<RecipeKind, Section>>} */
const SECTIONS = {
  "train spm": {
    about:
      "[A step-aware preference model](tutorial-train-spm.md). `sd15` and `sdxl` are the published settings of Liang et al. 2024, with the batch of four GPUs in one.",
    presets: spmPresets,
  },
  "train spo": {
    about:
      "[SPO](spo.md). `sd15` and `sdxl` are the published settings of Liang et al. 2024; one process plays one GPU of those runs. `sd35-medium` and `flux-dev` take what is published of other methods for these models; each number's source stands in its file. Those with a size in their names are the published settings [on a card of that size](plan.md#cards-of-8-to-24-gb). [Where the published code surprises](spo.md#where-the-published-code-surprises).",
    presets: spoPresets,
  },
  "train dpo": {
    about:
      "[Diffusion-DPO](tutorial-dpo.md). `sd15` and `sdxl` are the published settings of Wallace et al. 2024, `sd35-medium` and `flux-dev` those of later runs.",
    presets: dpoPresets,
  },
  compare: {
    about:
      "[Base, Diffusion-DPO and SPO beside each other](compare.md). The preset `emoji` is `examples/emoji/compare.json`; `emoji-latent` has a latent judge beside it.",
  },
  "data pairs": {
    about: "The example's preference pairs; `examples/emoji/recipes/pairs.json` has its settings.",
  },
  "pretrain vae": { about: "The example's VAE." },
  "pretrain text-to-image": { about: "The example's base model." },
  "pretrain clip": { about: "The small CLIP that the example's preference model starts from." },
  "pretrain lrm": {
    about: "The latent reward model that the example's latent preference model starts from.",
  },
  "pretrain judge": { about: "The example's judges." },
};

const INTRODUCTION = `<!-- Written by npm run gen from the schemas of the recipes. Change them, not this page. -->

# Every setting

A setting is given by its path on the command line, \`--optimizer.lr 3e-5\` or \`optimizer.lr=3e-5\`, or in a config file (\`.json\`, \`.js\`, \`.ts\`). The command line writes
its words with dashes: the \`saveEvery\` of a file is \`--save-every\`, and \`--saveEvery\` and \`--save_every\` are understood. Presets, files and settings are taken in the
order in which they stand; what comes last holds. An unknown setting or a value out of its range is an error that names it.

\`\`\`json
{ "model": "./sd15", "spm": "runs/spm/model", "prompts": "prompts.txt", "optimizer": { "lr": 3e-5 } }
\`\`\`

\`\`\`sh
npx spo train spo sd15 my.json --rounds 100 --run runs/mine --dry-run   # prints what all of it adds up to
\`\`\`

**Default** holds where neither a preset nor you say anything; *required* has none. A preset's column is empty where it says nothing. Times are in steps or rounds, sizes in pixels, shares from 0 to
1; \`null\` is a value: on the command line \`--resolution null\`. Lists have commas: \`--eval-timesteps 0,501,901\`. \`output\` is \`model\` inside the folder of \`--run\` unless it is said.`;

/** A value as the command line takes it; 0.00006 is read with a finger on the screen. @param {unknown} value */
const shown = (value) => {
  if (value === undefined) return "";
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "string" ? value : JSON.stringify(value).replaceAll(",", ", ");
};

/** What a preset says at a dotted path. @param {unknown} preset @param {string} path */
const at = (preset, path) =>
  path
    .split(".")
    .reduce(
      (inner, key) =>
        typeof inner === "object" && inner !== null
          ? /** @type {Record<string, unknown>} */ (inner)[key]
          : undefined,
      preset,
    );

/** @param {string} text */
const cell = (text) => text.replaceAll("|", "\\|");

/** @param {RecipeKind} command */
function sectionOf(command) {
  const { about, presets = {} } = SECTIONS[command];
  const names = Object.keys(presets);
  const head = ["setting", "type", "default", ...names.map((name) => `\`${name}\``), "meaning"];
  const rows = settingsOf(ALL[command]).map((setting) => [
    kebabCase(setting.path) === setting.path
      ? `\`${setting.path}\``
      : `\`${setting.path}\`, \`--${kebabCase(setting.path)}\``,
    [setting.type, setting.range].filter(Boolean).join(" "),
    setting.required ? "*required*" : shown(setting.default),
    ...names.map((name) => shown(at(presets[name], setting.path))),
    setting.description ?? "",
  ]);
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.map(cell).join(" | ")} |`;
  return [`## ${command}`, "", about, "", line(head), line(head.map(() => "---")), ...rows.map(line)].join(
    "\n",
  );
}

const recipes = /** @type {RecipeKind[]} */ (Object.keys(ALL));
const written = {
  "docs/configuration.md": `${[INTRODUCTION, ...recipes.map(sectionOf)].join("\n\n")}\n`,
  "packages/spo/src/recipes/settings.gen.ts": settingsTypes(SCHEMAS),
  "examples/emoji/src/settings.gen.ts": settingsTypes(EXAMPLE_SCHEMAS),
};
for (const [path, text] of Object.entries(written)) {
  const target = join(root, path);
  if (existsSync(target) && readFileSync(target, "utf8") === text) continue;
  if (process.argv.includes("--check")) {
    say(`${path} is not what the schemas say. Run \`npm run gen\`.`);
    process.exitCode = 1;
  } else {
    writeFileSync(target, text);
    say(`${path} written`);
  }
}
