import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * The built file of a worker. A worker thread or process is started from a file, and Node 20 reads no TypeScript: under the test runner,
 * which runs the sources, it is taken from the build.
 *
 * file: where it is beside the file that asks, `new URL("./image-worker.js", import.meta.url)`.
 */
export function workerFile(file: URL): string {
  const beside = fileURLToPath(file);
  if (existsSync(beside)) return beside;
  const built = beside.replace(/([/\\])src([/\\](?!.*[/\\]src[/\\]))/, "$1dist$2");
  if (existsSync(built)) return built;
  throw new Error(`${built} is missing: build the packages first (npm run build)`);
}
