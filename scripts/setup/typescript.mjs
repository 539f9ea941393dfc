// @ts-check
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hash } from "../../native/lib/hash.js";
import { run, tail } from "../../native/lib/run.js";
import { task } from "../../native/lib/say.js";
import { root } from "./root.mjs";
import { workspaces } from "./workspaces.mjs";

const cache = join(root, "node_modules/.cache");
const stamp = join(cache, "spo-typescript");

export const typeScriptIsBuilt = () =>
  existsSync(stamp) && projects().every(hasOutput) && readFileSync(stamp, "utf8") === sourcesHash();

export async function buildTypeScript() {
  const progress = task("building the TypeScript");
  const before = sourcesHash();
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { code, stdout, stderr } = await run(process.execPath, [tsc, "-b"], {
    cwd: root,
    tick: () => progress.update(),
  });
  if (code !== 0) throw new Error(`The TypeScript does not build.\n${tail(stdout + stderr, 30)}`);
  mkdirSync(cache, { recursive: true });
  writeFileSync(stamp, before);
  progress.done();
  return "TypeScript";
}

/** Changes when a source or a setting does. Looks at times and sizes only. */
function sourcesHash() {
  const facts = [fact(join(root, "tsconfig.json")), fact(join(root, "tsconfig.base.json"))];
  for (const folder of projects()) {
    facts.push(fact(join(folder, "tsconfig.json")), fact(join(folder, "package.json")));
    const files = readdirSync(join(folder, "src"), { recursive: true }).map(String).sort();
    facts.push(
      ...files.filter((file) => file.endsWith(".ts")).map((file) => fact(join(folder, "src", file))),
    );
  }
  return hash(facts.join("\n"));
}

const projects = () => workspaces(root).filter((folder) => existsSync(join(folder, "tsconfig.json")));

/** @param {string} folder */
const hasOutput = (folder) =>
  existsSync(join(folder, "dist/index.js")) || !existsSync(join(folder, "src/index.ts"));

/** @param {string} file */
function fact(file) {
  if (!existsSync(file)) return file;
  const { mtimeMs, size } = statSync(file);
  return `${file} ${mtimeMs} ${size}`;
}
