import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { findLora } from "./find-lora.js";

const folder = mkdtempSync(join(tmpdir(), "loras-"));
afterAll(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, "people"));
mkdirSync(join(folder, "other"));
for (const name of [
  "foo.safetensors",
  "people/anna.pt",
  "people/Foo.safetensors",
  "v1.5.safetensors",
  "notes.txt",
])
  writeFileSync(join(folder, name), "");
for (const name of ["foo.safetensors", "people.safetensors"]) writeFileSync(join(folder, "other", name), "");

const people = join(folder, "people");
const other = join(folder, "other");

test("a name is a file's without its extension, in the folder or below; the first folder goes first", () => {
  expect(findLora("anna", [folder])).toBe(join(people, "anna.pt"));
  expect(findLora("people/anna", [folder])).toBe(join(people, "anna.pt"));
  expect(findLora("v1.5", [folder])).toBe(join(folder, "v1.5.safetensors"));
  expect(findLora("foo", [other, people])).toBe(join(other, "foo.safetensors"));
  expect(findLora("ANNA", [folder])).toBe(join(people, "anna.pt"));
});

test("what is not there is refused with where it was looked for and what is there", () => {
  expect(() => findLora("bar", [people, other])).toThrow(
    `there is no bar.safetensors in ${people}, ${other}`,
  );
  expect(() => findLora("notes", [folder])).toThrow(/there is no notes/);
  expect(() => findLora("bar", [])).toThrow(/no folder of LoRAs is given/);
  expect(() => findLora("bar", [join(folder, "nowhere")])).toThrow(/nowhere is no folder/);
});

test("two files of one name are refused, unless the path says which", () => {
  expect(() => findLora("foo", [folder])).toThrow(/is 2 files: /);
  expect(findLora("other/foo", [folder])).toBe(join(other, "foo.safetensors"));
});
