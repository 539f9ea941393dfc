// @ts-check
// Inside a package, imports point downwards too: from folder to folder in a declared order. No files import each other in a circle.
import { existsSync, readFileSync } from "node:fs";
import { dirname, relative, resolve, sep } from "node:path";
import { importsOf, sourcesOf } from "./imports.mjs";

/**
 * The folders of each package from the bottom to the top, without `src/`. `.` is the package's own files. A file may have a place of its
 * own; an `index.ts` beside `src` is above all unless it has one.
 *
 * @type {Readonly<Record<string, readonly string[]>>}
 */
export const FOLDERS = {
  "@spo/native": ["lib", "bin"],
  "@spo/torch": [".", "weights", "nn", "optim", "rehearsal", "distributed"],
  "@spo/hub": ["."],
  "@spo/records": [".", "config", "index.ts", "report"],
  "@spo/diffusion": [
    ".",
    "tokenizer",
    "process",
    "models",
    "samplers",
    "prompts",
    "layouts",
    "families",
    "lora",
    "pipelines",
    "verify",
  ],
  "@spo/data": [
    ".",
    "pixels",
    "layouts",
    "pair-images.ts",
    "pair-set.ts",
    "pair-loader.ts",
    "read-rows.ts",
    "convert.ts",
  ],
  "@spo/scorers": [".", "clip", "rewards", "measures", "verify"],
  spo: [
    "spm",
    "judges",
    "rollout",
    "objectives",
    "recipes",
    "recipes/training",
    "recipes/train-spm",
    "recipes/train-dpo",
    "recipes/train-spo",
    "verify",
    "plan",
    "presets",
    "comparison",
    "report",
    ".",
  ],
  "@spo/example-emoji": [".", "data", "judge", "make-pairs", "pretrain", "quickstart", "schemas.ts"],
  "@spo/studio": ["api.ts", "pictures.ts", "access", "runs", "judging", "steering", "grids", "data", "."],
  "@spo/cli": ["terminal", "options", "jobs", "commands", ".", "index.ts", "bin"],
};

/**
 * Arrows that still point upwards, as `package: from → to`. To stay empty: one that is not there any more is a fault as well.
 *
 * @type {readonly string[]}
 */
export const UPWARD = [];

/**
 * Faults of the order of folders, and circles of imports that are there when the program runs, as lines.
 *
 * @param {string} root
 * @param {readonly { name: string, folder: string }[]} packages
 * @param {{ folders?: Readonly<Record<string, readonly string[]>>, upward?: readonly string[] }} [declared]
 * @returns {string[]}
 */
export function folderFaults(root, packages, { folders = FOLDERS, upward = UPWARD } = {}) {
  /** @type {Set<string>} */
  const seen = new Set();
  const faults = packages.flatMap(({ name, folder }) => {
    const imports = importsInside(folder);
    const order = folders[name] ?? [];
    return [...orderFaults(root, name, folder, imports, order, upward, seen), ...circleFaults(root, imports)];
  });
  const names = new Set(packages.map(({ name }) => name));
  const gone = upward.filter((arrow) => names.has(arrow.split(":")[0] ?? "") && !seen.has(arrow));
  return [
    ...faults,
    ...gone.map((arrow) => `${arrow}: is not there any more; strike it from scripts/check/folders.mjs`),
  ];
}

/**
 * @typedef {{ file: string, specifier: string, atRun: boolean }} Import a file of the package, and whether it is loaded with the importing
 *   one
 */

/**
 * What the files of a package import of one another. Tests and fixtures are left out: they may use what they like.
 *
 * @param {string} folder
 * @returns {Map<string, Import[]>}
 */
function importsInside(folder) {
  const files = sourcesOf(folder).filter((file) => !/\.(test|bench|fixture)\.m?[jt]s$/.test(file));
  return new Map(
    files.map((file) => [
      file,
      importsOf(readFileSync(file, "utf8"))
        .filter(({ specifier }) => specifier.startsWith("."))
        .map(({ specifier, erased, dynamic }) => ({
          file: sourceOf(resolve(dirname(file), specifier)),
          specifier,
          atRun: !erased && !dynamic,
        })),
    ]),
  );
}

/** The TypeScript that a built file comes from. @param {string} file */
const sourceOf = (file) => {
  const source = file.replace(`${sep}dist${sep}`, `${sep}src${sep}`).replace(/\.js$/, ".ts");
  return existsSync(source) ? source : file;
};

/**
 * @param {string} root
 * @param {string} name
 * @param {string} folder
 * @param {Map<string, Import[]>} imports
 * @param {readonly string[]} order
 * @param {readonly string[]} upward
 * @param {Set<string>} seen the upward arrows that were met
 */
function orderFaults(root, name, folder, imports, order, upward, seen) {
  /** @type {string[]} */
  const faults = [];
  /** @param {string} file */
  const placeOf = (file) => {
    const path = relative(folder, file)
      .replace(/^src[\\/]/, "")
      .replaceAll("\\", "/");
    return order.includes(path) ? path : path === "index.ts" ? path : dirname(path);
  };
  /** @param {string} place */
  const heightOf = (place) => {
    const found = order.indexOf(place);
    return found < 0 && place === "index.ts" ? order.length : found;
  };
  for (const [file, list] of imports) {
    const from = placeOf(file);
    if (heightOf(from) < 0) {
      faults.push(
        `${relative(root, file)}: its folder has no place in the order of ${name} (scripts/check/folders.mjs)`,
      );
      continue;
    }
    for (const { file: imported, specifier } of list) {
      const to = placeOf(imported);
      if (heightOf(to) <= heightOf(from)) continue; // a folder without a place is told of with its own files
      const arrow = `${name}: ${from} → ${to}`;
      if (upward.includes(arrow)) seen.add(arrow);
      else
        faults.push(
          `${relative(root, file)}: import of "${specifier}": points upwards: ${from} is below ${to}`,
        );
    }
  }
  return faults;
}

/**
 * @param {string} root
 * @param {Map<string, Import[]>} imports
 */
function circleFaults(root, imports) {
  const loaded = new Map(
    [...imports].map(([file, list]) => [file, list.filter(({ atRun }) => atRun).map((each) => each.file)]),
  );
  return circles(loaded).map(
    (files) => `circle of imports: ${files.map((file) => relative(root, file)).join(", ")}`,
  );
}

/**
 * Sets of two or more nodes each of which leads to every other (Tarjan's strongly connected components), each sorted.
 *
 * @param {ReadonlyMap<string, readonly string[]>} arrows
 * @returns {string[][]}
 */
export function circles(arrows) {
  /** @type {string[][]} */
  const found = [];
  /** @type {Map<string, number>} */
  const low = new Map();
  /** @type {string[]} */
  const stack = [];
  let count = 0;
  /** @param {string} node @returns {number} the lowest number that it leads to */
  const visit = (node) => {
    const number = count++;
    let least = number;
    low.set(node, number);
    stack.push(node);
    for (const next of arrows.get(node) ?? []) {
      if (!low.has(next)) least = Math.min(least, visit(next));
      else if (stack.includes(next)) least = Math.min(least, low.get(next) ?? least);
    }
    low.set(node, least);
    if (least === number) {
      const members = stack.splice(stack.indexOf(node));
      if (members.length > 1) found.push(members.sort());
    }
    return least;
  };
  for (const node of arrows.keys()) if (!low.has(node)) visit(node);
  return found;
}
