// @ts-check
import { expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { durableWriteFaults, writersIn } from "./durable-writes.mjs";

test.each([
  "writeFileSync(path, text);",
  "await writeFile(path, text);",
  'const file = openSync(path, "w");',
  "renameSync(from, to);",
  "await image.png().toFile(path);",
  "source.pipe(createWriteStream(path));",
])("a call that writes is found: %s", (line) => {
  expect(writersIn(`let x;\n${line}\n`)).toMatchObject([{ line: 2 }]);
});

test("what reads, what goes the one path, and methods of the same names are let through", () => {
  const code = [
    'const file = openSync(path, "r");',
    "writeFileAtomic(path, text);",
    "this.#write(text);",
    "file.write(bytes);",
    " * writeFileSync(path)",
  ];
  expect(writersIn(code.join("\n"))).toEqual([]);
});

test("nothing in this repository writes by another path", () => {
  expect(durableWriteFaults(root)).toEqual([]);
});
