// @ts-check
// The source files of a package, and what each imports.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/**
 * @param {string} code
 * @returns {{ specifier: string, erased: boolean, dynamic: boolean }[]} erased: of types alone; dynamic: made late
 */
export function importsOf(code) {
  const found = [];
  const plain = code.replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, "");
  const statement =
    /^\s*(?:import|export)\s+(?<type>type\s+)?(?:[\w*{}$,\s]+?\s*from\s*)?"(?<static>[^"]+)"|\bimport\(\s*"(?<dynamic>[^"]+)"\s*\)/gm;
  for (const { groups = {} } of plain.matchAll(statement)) {
    const specifier = groups.static ?? groups.dynamic ?? "";
    found.push({ specifier, erased: groups.type !== undefined, dynamic: groups.dynamic !== undefined });
  }
  return found;
}

/**
 * Sources of a package, tests among them.
 *
 * @param {string} folder
 * @returns {string[]}
 */
export function sourcesOf(folder) {
  const files = ["src", "lib", "bin"]
    .map((name) => join(folder, name))
    .filter((each) => existsSync(each))
    .flatMap((each) => readdirSync(each, { recursive: true }).map((name) => join(each, String(name))));
  return files.filter((file) => /\.m?[jt]s$/.test(file)).sort();
}
