// @ts-check
// Type checks the TypeScript and JavaScript that documents show against the packages.
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../native/lib/run.js";
import { documentsOf } from "./links.mjs";

/**
 * Blocks marked `ts` and `js` of a document, each with the line that it begins at.
 *
 * @param {string} text
 * @returns {{ language: "ts" | "js", line: number, code: string }[]}
 */
export function codeBlocks(text) {
  return [...text.matchAll(/^```(ts|js)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: /** @type {"ts" | "js"} */ (match[1]),
    line: text.slice(0, match.index).split("\n").length + 1,
    code: /** @type {string} */ (match[2]),
  }));
}

/**
 * What the compiler says of the blocks of all documents below a folder, with document and line. The packages must be built.
 *
 * @param {string} root the repository, whose packages are imported
 * @param {string} [folder] where the documents are
 * @returns {Promise<string[]>}
 */
export async function codeFaults(root, folder = root) {
  const work = mkdtempSync(join(tmpdir(), "spo-code-in-documents-"));
  try {
    symlinkSync(join(root, "node_modules"), join(work, "node_modules"));
    /** @type {Map<string, { path: string, line: number }>} */
    const origins = new Map();
    for (const path of documentsOf(folder)) {
      for (const { language, line, code } of codeBlocks(readFileSync(join(folder, path), "utf8"))) {
        const name = `${path.replace(/\W+/g, "-")}-${line}.m${language}`;
        origins.set(name, { path, line });
        writeFileSync(join(work, name), code);
      }
    }
    if (origins.size === 0) return [];
    // Plain JavaScript has parameters without types; of TypeScript nothing is let through.
    const of = (/** @type {string} */ end) => [...origins.keys()].filter((name) => name.endsWith(end));
    const outputs = await Promise.all([
      typeCheck(root, work, "ts", of(".mts"), {}),
      typeCheck(root, work, "js", of(".mjs"), { allowJs: true, checkJs: true, strict: false }),
    ]);
    return outputs.flat().map((fault) =>
      fault.replace(/^(.*?)\((\d+),\d+\): /, (_, name, line) => {
        const origin = origins.get(name);
        return origin ? `${origin.path}:${origin.line + Number(line) - 1}: ` : `${name}:${line}: `;
      }),
    );
  } finally {
    rmSync(work, { recursive: true });
  }
}

/**
 * @param {string} root @param {string} work @param {string} language @param {readonly string[]} files
 * @param {object} options over those of the repository
 * @returns {Promise<string[]>}
 */
async function typeCheck(root, work, language, files, options) {
  if (files.length === 0) return [];
  const config = join(work, `tsconfig.${language}.json`);
  const own = { composite: false, declaration: false, declarationMap: false, sourceMap: false, noEmit: true };
  const lax = { noUnusedLocals: false, noUnusedParameters: false };
  const types = { typeRoots: [join(root, "node_modules/@types")] };
  const compilerOptions = { ...own, ...lax, ...types, ...options };
  writeFileSync(
    config,
    JSON.stringify({ extends: join(root, "tsconfig.base.json"), compilerOptions, files }),
  );
  const compiler = join(root, "node_modules/.bin/tsc");
  const { code, stdout, stderr } = await run(compiler, ["-p", config, "--pretty", "false"], { cwd: work });
  const faults = stdout.split("\n").filter((line) => /error TS/.test(line));
  if (code !== 0 && faults.length === 0) return [`tsc: ${stdout}${stderr}`];
  return faults;
}
