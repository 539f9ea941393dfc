// @ts-check
// Publishes every package: npm run release [-- --dry-run]. The workflow `release.yml` calls it, with the addons of all platforms in
// dist/packages. A dry run publishes nothing, and may lack them.
import { join } from "node:path";
import { run } from "../native/lib/run.js";
import { packWorkspaces } from "./pack/pack-workspaces.mjs";
import { addonTarballs, releaseFaults } from "./pack/release-faults.mjs";
import { publishedWorkspaces } from "./pack/workspaces.mjs";
import { root } from "./setup/root.mjs";

const dryRun = process.argv.includes("--dry-run");
const folder = join(root, "dist/packages");
const version = publishedWorkspaces()[0]?.manifest.version ?? "";
const { there, missing } = addonTarballs(folder, version);

const faults = [
  ...releaseFaults(
    publishedWorkspaces().map(({ manifest }) => manifest),
    process.env,
  ),
  ...missing.map((file) => `${file} is missing: npm run pack:addon makes it on a machine of that kind`),
];
for (const fault of faults) console.error(`release: ${fault}`);
if (faults.length > 0 && !dryRun) process.exit(1);

// Those that others depend on come first, so that nobody can install half of a release.
for (const tarball of [...there, ...(await packWorkspaces(folder))]) {
  if (!dryRun && (await isPublished(tarball))) {
    console.log(`${tarball}: published before`);
    continue;
  }
  const { code, stdout, stderr } = await run("npm", ["publish", tarball, ...(dryRun ? ["--dry-run"] : [])]);
  process.stderr.write(stderr);
  process.stdout.write(stdout);
  if (code !== 0) process.exit(code);
}

/** Whether an earlier try of this release got as far as this package. @param {string} tarball */
async function isPublished(tarball) {
  const packed = await run("npm", ["pack", tarball, "--dry-run", "--json"]);
  const [{ id }] = JSON.parse(packed.stdout);
  const { code, stdout } = await run("npm", ["view", id, "version"]);
  return code === 0 && stdout.trim() === version;
}
