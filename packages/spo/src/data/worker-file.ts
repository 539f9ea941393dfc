import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * The built file of a worker. A worker thread is started from a file, and Node 20 reads no TypeScript: under the test runner, which runs
 * the sources, it is taken from the build.
 */
export function workerFile(name: string): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  if (existsSync(beside)) return beside;
  const built = fileURLToPath(new URL(`../../dist/data/${name}.js`, import.meta.url));
  if (existsSync(built)) return built;
  throw new Error(`${built} is missing: build the packages first (npm run build)`);
}
