// @ts-check
// Lets Node run the TypeScript of the tests as it stands: `node --import ./tests/mutations/typescript.mjs FILE.ts`.
// Packages are the built ones.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire, register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";

if (isMainThread) register(import.meta.url);

/** @type {import("node:module").ResolveHook} */
export function resolve(specifier, context, next) {
  const source = /^\.{1,2}\/.*\.js$/.test(specifier) && specifier.replace(/\.js$/, ".ts");
  const isSource = source && existsSync(new URL(source, context.parentURL));
  return next(isSource ? source : specifier, context);
}

/** @type {import("node:module").LoadHook} */
export async function load(url, context, next) {
  if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
  const ofSpo = createRequire(new URL("../../packages/spo/package.json", import.meta.url));
  const { transformSync } = ofSpo("@swc/wasm-typescript");
  const path = fileURLToPath(url);
  const { code } = transformSync(await readFile(path, "utf8"), {
    filename: path,
    mode: "strip-only",
    module: true,
  });
  return { format: "module", source: code, shortCircuit: true };
}
