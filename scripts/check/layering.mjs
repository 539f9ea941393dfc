// @ts-check
// Imports point downwards only, by package name, through what the package exports; and what must start without tensor code does.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { workspaces } from "../setup/workspaces.mjs";
import { folderFaults } from "./folders.mjs";
import { importsOf, sourcesOf } from "./imports.mjs";

/** From the bottom to the top: a package may import those before it. */
const LAYERS = [
  "@spo/native",
  "@spo/torch",
  "@spo/hub",
  "@spo/records",
  "@spo/diffusion",
  "@spo/data",
  "@spo/scorers",
  "spo",
  "@spo/example-emoji",
  "@spo/studio",
  "@spo/cli",
];

/** Packages that compute nothing (one shows runs, one fetches files): they may import only what stands here, whatever their layer. */
const ONLY = new Map([
  ["@spo/hub", ["@spo/torch/files", "@spo/torch/text-files"]],
  ["@spo/studio", ["@spo/records", "@spo/records/report"]],
  ["@spo/records", ["@spo/torch/files", "@spo/torch/text-files", "@spo/torch/warnings"]],
]);

/** Exports without tensor code, by package; and the command, whose start-up is to be quick. Each is followed through its static imports. */
const LIGHT = [
  "@spo/native/libtorch",
  "@spo/native/lock",
  "@spo/torch/files",
  "@spo/hub",
  "@spo/torch/seed",
  "@spo/records",
  "@spo/records/config",
  "@spo/records/report",
  "@spo/data",
  "@spo/scorers/reward-spec",
  "spo/report",
  "spo/schemas",
  "spo/presets",
  "@spo/example-emoji/schemas",
  "@spo/studio",
  "@spo/cli",
];

/** What loads libtorch. */
const HEAVY = "@spo/native";

/**
 * @typedef {object} Package
 * @property {string} name
 * @property {string} folder
 * @property {Map<string, string>} exports specifier (`spo/records`) → source file
 * @property {Set<string>} dependencies
 * @property {string[]} programs what stands in its bin/
 */

/**
 * All faults of a repository, as lines that name file, import and rule.
 *
 * @param {string} root
 * @param {Parameters<typeof folderFaults>[2]} [declared] the order of folders
 * @returns {string[]}
 */
export function layeringFaults(root, declared) {
  const packages = readPackages(root);
  return [
    ...packages.flatMap((from) => arrowFaults(root, packages, from)),
    ...folderFaults(root, packages, declared),
    ...lightFaults(root, packages),
  ];
}

/** @param {string} root @returns {Package[]} */
function readPackages(root) {
  return workspaces(root).map((folder) => {
    const {
      name,
      exports = {},
      dependencies = {},
    } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    /** @param {string} path */
    const source = (path) =>
      join(folder, path.replace("./dist/", "src/").replace(/^\.\//, "")).replace(/(src\/.*)\.js$/, "$1.ts");
    const targets = Object.entries(exports).map(
      ([path, target]) =>
        /** @type {const} */ ([
          name + path.slice(1),
          source(typeof target === "string" ? target : target.default),
        ]),
    );
    const programs = sourcesOf(folder).filter((file) => file.startsWith(join(folder, "bin") + sep));
    return {
      name,
      folder,
      exports: new Map(targets),
      dependencies: new Set(Object.keys(dependencies)),
      programs,
    };
  });
}

/**
 * @param {string} root
 * @param {Package[]} packages
 * @param {Package} from
 */
function arrowFaults(root, packages, from) {
  /** @type {string[]} */
  const faults = [];
  for (const file of sourcesOf(from.folder)) {
    const test = /\.(test|bench)\.m?[jt]s$/.test(file);
    for (const { specifier } of importsOf(readFileSync(file, "utf8"))) {
      /** @param {string} rule */
      const fault = (rule) => faults.push(`${relative(root, file)}: import of "${specifier}": ${rule}`);
      if (specifier.startsWith(".")) {
        if (!inside(from.folder, resolve(dirname(file), specifier)))
          fault("leaves the package; import the other one by its name");
        continue;
      }
      const to = packages.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`));
      if (!to) {
        // Tests may also use what the workspace itself depends on.
        if (!specifier.startsWith("node:") && !test && !from.dependencies.has(packageOf(specifier)))
          fault("not among the package's dependencies");
        continue;
      }
      const allowed = ONLY.get(from.name);
      if (to === from) fault("a package imports its own files by their paths");
      else if (allowed && !allowed.includes(specifier))
        fault(`${from.name} imports only ${allowed.join(", ")}`);
      else if (!allowed && LAYERS.indexOf(to.name) >= LAYERS.indexOf(from.name))
        fault(`points upwards: ${from.name} is below ${to.name}`);
      else if (!to.exports.has(specifier)) fault(`${to.name} exports no such path`);
      else if (!from.dependencies.has(to.name)) fault("not among the package's dependencies");
    }
  }
  return faults;
}

/**
 * @param {string} root
 * @param {Package[]} packages
 */
function lightFaults(root, packages) {
  /** @type {string[]} */
  const faults = [];
  for (const name of LIGHT) {
    const owner = packages.find((each) => name === each.name || each.exports.has(name));
    if (owner && sourcesOf(owner.folder).length === 0) continue;
    // A command is started by its program; as a library it may offer what it likes.
    const entries =
      owner && owner.name === name && owner.programs.length > 0
        ? owner.programs
        : [owner?.exports.get(name) ?? ""];
    for (const entry of entries) {
      if (!existsSync(entry)) {
        faults.push(
          `${name}: ${entry ? relative(root, entry) : "its export"} is not there, so what it loads cannot be checked`,
        );
        continue;
      }
      const way = wayTo(
        packages,
        entry,
        packages.find((each) => each.name === HEAVY)?.exports.get(HEAVY) ?? "",
      );
      if (way)
        faults.push(`${name} loads tensor code: ${way.map((file) => relative(root, file)).join(" → ")}`);
    }
  }
  return faults;
}

/**
 * The files by which the static imports of `from` lead to `to`, or null. Type-only imports are erased and lead nowhere.
 *
 * @param {Package[]} packages
 * @param {string} from
 * @param {string} to
 * @returns {string[] | null}
 */
function wayTo(packages, from, to) {
  /** @type {Map<string, string | null>} */
  const cameFrom = new Map([[from, null]]);
  for (const file of cameFrom.keys()) {
    if (file === to) {
      const way = [];
      for (let at = /** @type {string | null} */ (file); at; at = cameFrom.get(at) ?? null) way.unshift(at);
      return way;
    }
    if (!existsSync(file)) continue;
    for (const { specifier, erased, dynamic } of importsOf(readFileSync(file, "utf8"))) {
      if (erased || dynamic) continue;
      const next = specifier.startsWith(".")
        ? sourceOf(resolve(dirname(file), specifier))
        : packages.map(({ exports }) => exports.get(specifier)).find((each) => each !== undefined);
      if (next && !cameFrom.has(next)) cameFrom.set(next, file);
    }
  }
  return null;
}

/** The TypeScript that a built file comes from. @param {string} file */
const sourceOf = (file) => {
  const source = file.replace(`${sep}dist${sep}`, `${sep}src${sep}`).replace(/\.js$/, ".ts");
  return existsSync(source) ? source : file;
};

/** @param {string} specifier */
const packageOf = (specifier) =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

/** @param {string} folder @param {string} file */
const inside = (folder, file) => file.startsWith(folder + sep);
