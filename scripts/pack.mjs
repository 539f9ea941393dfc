// @ts-check
// Packs every workspace as it is published: node scripts/pack.mjs [FOLDER], by default dist/packages.
import { join, resolve } from "node:path";
import { packWorkspaces } from "./pack/pack-workspaces.mjs";
import { root } from "./setup/root.mjs";

for (const file of await packWorkspaces(resolve(process.argv[2] ?? join(root, "dist/packages"))))
  console.log(file);
