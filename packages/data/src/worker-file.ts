import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * The built file of a worker. A worker thread or process is started from a file, and Node 20 reads no TypeScript: under the test runner, which runs
 * the sources, it is taken from the build.
 */
export function workerFile(name: string, folder = "data"): string {
  const beside = fileURLToPath(new URL(`../${folder}/${name}.js`, import.meta.url));
  if (existsSync(beside)) return beside;
  const built = fileURLToPath(new URL(`../../dist/${folder}/${name}.js`, import.meta.url));
  if (existsSync(built)) return built;
  throw new Error(`${built} is missing: build the packages first (npm run build)`);
}
