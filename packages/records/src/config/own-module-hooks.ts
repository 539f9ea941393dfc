// Module hooks for files of the user: TypeScript is read on every Node, and `spo` and `@spo/…` are the ones that run, wherever the file
// lies.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

interface ResolveContext {
  parentURL?: string;
}
interface Loaded {
  format: string;
  source?: string;
  shortCircuit?: boolean;
}

export function resolve<R>(
  specifier: string,
  context: ResolveContext,
  next: (specifier: string, context: ResolveContext) => R,
): R {
  // A second copy of the engine would not accept the tensors of the running one.
  const ours = specifier === "spo" || specifier.startsWith("spo/") || specifier.startsWith("@spo/");
  return next(specifier, ours ? { ...context, parentURL: import.meta.url } : context);
}

export async function load<C>(
  url: string,
  context: C,
  next: (url: string, context: C) => Promise<Loaded>,
): Promise<Loaded> {
  const { pathname, protocol } = new URL(url);
  if (protocol !== "file:" || !/\.m?ts$/.test(pathname)) return next(url, context);
  const { transformSync } = (await import("@swc/wasm-typescript")).default;
  const path = fileURLToPath(url);
  const { code } = transformSync(await readFile(path, "utf8"), {
    filename: path,
    mode: "strip-only",
    module: true,
  });
  return { format: "module", source: code, shortCircuit: true };
}
