// @ts-check
// The page of Studio: one script and one style for the browser.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { hash } from "../../native/lib/hash.js";
import { run, tail } from "../../native/lib/run.js";
import { task } from "../../native/lib/say.js";
import { root } from "./root.mjs";

const source = join(root, "packages/studio/client");
const page = join(root, "packages/studio/page/studio.js");
const stamp = join(root, "node_modules/.cache/spo-studio-page");

export const studioPageIsBuilt = () =>
  !existsSync(source) ||
  (existsSync(page) && existsSync(stamp) && readFileSync(stamp, "utf8") === sourcesHash());

export async function buildStudioPage() {
  const progress = task("building the page of Studio");
  const before = sourcesHash();
  const vite = join(root, "node_modules/vite/bin/vite.js");
  const { code, stdout, stderr } = await run(
    process.execPath,
    [vite, "build", source, "--logLevel", "warn"],
    {
      cwd: root,
      tick: () => progress.update(),
    },
  );
  if (code !== 0) throw new Error(`The page of Studio does not build.\n${tail(stdout + stderr, 30)}`);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, before);
  progress.done();
  return "page of Studio";
}

/** Of the sources, and of the lock file, which has the versions of the libraries in the page. */
function sourcesHash() {
  const files = readdirSync(source).sort();
  const texts = files.map((file) => `${file}\n${readFileSync(join(source, file), "utf8")}`);
  return hash([...texts, readFileSync(join(root, "package-lock.json"), "utf8")].join("\n"));
}
