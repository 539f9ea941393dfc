// @ts-check
// What the last set-up made, for the program that loads it: which addon, against which libtorch.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "./cache-folder.js";
import { hash } from "./hash.js";

/** @typedef {import("./libtorch.js").AddonRecord} AddonRecord */

const inPackage = fileURLToPath(new URL("../dist/addon.json", import.meta.url));

/** Stands in for the record in the package where that is read-only, as in an installation for all users. */
function inCache() {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return join(cacheFolder(), `engine-${hash(`${inPackage} ${version}`)}.json`);
}

/** The record as it stands, its files not looked at; null when there is none. @returns {Partial<AddonRecord> | null} */
export function readAddonRecord() {
  const file = [inCache(), inPackage].find((each) => existsSync(each));
  return file ? JSON.parse(readFileSync(file, "utf8")) : null;
}

/** @param {AddonRecord} record */
export function writeAddonRecord(record) {
  try {
    write(inPackage, record);
    rmSync(inCache(), { force: true });
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? ""))
      throw error;
    write(inCache(), record);
  }
}

/** The next set-up then looks for libtorch anew. */
export function forgetAddonRecord() {
  for (const file of [inCache(), inPackage]) rmSync(file, { force: true });
}

/** @param {string} file @param {AddonRecord} record */
function write(file, record) {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(temporary, file);
}
