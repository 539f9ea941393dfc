// @ts-check
// What a package exports says what it is: a docstring stands over each function, class, interface, type and value.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { workspaces } from "../setup/workspaces.mjs";

/**
 * Exports without a docstring, as lines that name file, line and name. Followed from each package's exports through the files that pass
 * them on; generated files are left out.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function docstringFaults(root) {
  /** @type {Set<string>} */
  const faults = new Set();
  for (const folder of workspaces(root).filter((each) => existsSync(join(each, "src/index.ts")))) {
    const { exports = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    for (const { types } of /** @type {{ types: string }[]} */ (Object.values(exports))) {
      const entry = join(folder, types.replace("./dist/", "src/").replace(/\.d\.ts$/, ".ts"));
      for (const fault of faultsOf(entry)) faults.add(relative(root, fault));
    }
  }
  return [...faults].sort();
}

/**
 * @param {string} file
 * @param {ReadonlySet<string>} [names] those asked for; without it, all that the file exports
 * @returns {string[]} `FILE:LINE: NAME …`
 */
function faultsOf(file, names) {
  if (file.endsWith(".gen.ts")) return [];
  const code = readFileSync(file, "utf8");
  const faults = [];
  for (const { groups = {} } of code.matchAll(
    /^export (?:type )?(?:\*|\{(?<list>[^}]*)\}) from "(?<from>\.[^"]+)\.js";/gm,
  )) {
    const wanted = groups.list && new Set(namesIn(groups.list, names));
    if (wanted && wanted.size === 0) continue;
    const from = resolve(dirname(file), `${groups.from}.ts`);
    faults.push(...faultsOf(from, wanted || names));
  }
  const lines = code.split("\n");
  for (const [i, line] of lines.entries()) {
    const name =
      /^export (?:default )?(?:declare |abstract |async )*(?:function\*?|class|interface|type|const) (\w+)/.exec(
        line,
      )?.[1];
    if (name === undefined || (names && !names.has(name))) continue;
    // Overloads share the docstring of the first; a schema's type has that of the schema.
    const before = lines.slice(0, i).join("\n");
    const told =
      lines[i - 1]?.trimEnd().endsWith("*/") ||
      new RegExp(`^export (?:function|const) ${name}\\b`, "m").test(before);
    if (!told) faults.push(`${file}:${i + 1}: ${name} has no docstring`);
  }
  return faults;
}

/**
 * The names that a list `a, type B, c as d` takes from its file, as they are called there.
 *
 * @param {string} list
 * @param {ReadonlySet<string>} [asked] only these, as they are called here
 */
function namesIn(list, asked) {
  const found = [];
  for (const [, there = "", here = there] of list.matchAll(/(?:type\s+)?(\w+)(?:\s+as\s+(\w+))?/g))
    if (!asked || asked.has(here)) found.push(there);
  return found;
}
