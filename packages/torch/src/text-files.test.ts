import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { UserError } from "./errors.js";
import { decodeText, jsonFault, linesOf, readJson, readJsonObject, readText } from "./text-files.js";

const folder = mkdtempSync(join(tmpdir(), "text-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

function put(name: string, bytes: string | Uint8Array): string {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
}

describe("a text file", () => {
  test("is read without its byte order mark", () => {
    expect(readText(put("bom.txt", "\ufeffgrüße\n"))).toBe("grüße\n");
  });

  test.each<[string, Uint8Array, string]>([
    ["Latin-1", Buffer.from("a cat\ncaf\xe9\n", "latin1"), "there are other bytes in line 2"],
    ["cut within a letter", Buffer.from("é").subarray(0, 1), "there are other bytes in line 1"],
    ["UTF-16", Buffer.from("\ufeffa cat", "utf16le"), "it begins as UTF-16 does"],
    ["with a zero byte", Buffer.from("a\nb\0"), "there is a zero byte in line 2"],
  ])("that is %s is refused with its place", (_, bytes, why) => {
    expect(() => readText(put("other.txt", bytes))).toThrow(
      `${join(folder, "other.txt")} is no UTF-8 text: ${why}.`,
    );
  });

  test("that is a folder or not there is said to be so", () => {
    expect(() => readText(folder, "prompt file")).toThrow(`${folder} is a folder, not a prompt file.`);
    expect(() => readText(join(folder, "no"), "prompt file")).toThrow(
      `The prompt file ${join(folder, "no")} does not exist.`,
    );
  });

  test("of any letters is read as it was written", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        fc.pre(!/[\0\ufeff\ud800-\udfff]/.test(text));
        expect(decodeText(Buffer.from(text), "here")).toBe(text);
      }),
    );
  });
});

test("lines end as any system ends them", () => {
  expect(linesOf("a\nb\r\nc\rd")).toEqual(["a", "b", "c", "d"]);
});

test.skipIf(!existsSync("/dev/zero"))(
  "a device or a pipe is refused and not waited for, but for what a shell hands over",
  () => {
    const fifo = join(folder, "fifo");
    const link = join(folder, "link.txt");
    spawnSync("mkfifo", [fifo]);
    symlinkSync("/dev/zero", link);
    for (const path of ["/dev/zero", "/dev/null", fifo, link])
      expect(() => readText(path, "prompt file"), path).toThrow(
        `${path} is a device or a pipe, not a prompt file.`,
      );
    const file = openSync(put("open.txt", "a cat"), "r");
    expect(readText(`/dev/fd/${file}`)).toBe("a cat");
    closeSync(file);
  },
);

describe("JSON that does not parse is told with line and column:", () => {
  test.each([
    ['{\n  // of mine\n  "a": 1\n}', "line 2, column 3: JSON has no comments"],
    ['{"a": /* 2 */ 1}', "line 1, column 7: JSON has no comments"],
    ['{\n  "a": 1,\n}', "line 3, column 1: JSON has no comma after the last entry"],
    ["[1,\n 2,]", "line 2, column 4: JSON has no comma after the last entry"],
    ['{"a": [1', "line 1, column 9: it ends too soon"],
    ['{\n  "a": undefined\n}', 'line 2, column 8: unexpected "undefined"'],
    ["{'a': 1}", "line 1, column 2: expected "],
    ["  \n", "it is empty"],
  ])("%j", (text, told) => {
    const error = (() => {
      try {
        return JSON.parse(text);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(jsonFault(text, error)).toContain(told);
  });

  test("and with the file's name, by the code that was asked for", () => {
    const path = put("bad.json", '{"a": 1,\n}');
    expect(() => readJson(path, { code: "CONFIG" })).toThrow(
      expect.objectContaining({
        code: "CONFIG",
        message: expect.stringContaining(`${path} is not JSON: line 2`),
      }),
    );
  });

  test("wherever a text is cut, something is told and nothing else is thrown", () => {
    const whole = JSON.stringify({ a: [1, -2.5e3, "x\\n\u2028"], b: { c: null, d: true } }, null, 2);
    for (let length = 1; length < whole.length; length++) {
      const path = put("cut.json", whole.slice(0, length));
      expect(() => readJson(path), whole.slice(0, length)).toThrow(UserError);
    }
  });
});

describe("JSON that others wrote", () => {
  test("is refused by what it holds where an object is expected", () => {
    for (const [text, kind] of [
      ["null", "null"],
      ["[1]", "a list"],
      ["7", "the number 7"],
      ['"a"', 'the text "a"'],
      ["true", "the value true"],
    ] as const) {
      const path = put("other.json", text);
      expect(() => readJsonObject(path), text).toThrow(`${path} holds ${kind} where an object`);
    }
    expect(readJsonObject(put("object.json", '{"a": [1]}'))).toEqual({ a: [1] });
  });

  test("is refused before it is parsed where it is nested without end, and brackets in texts do not count", () => {
    const path = put("deep.json", `{\n"a": ${"[".repeat(1e6)}`);
    expect(() => readJson(path, { parse: () => expect.fail("it was parsed") })).toThrow(
      `${path} is nested more than 100 levels deep, at line 2, column 105.`,
    );
    const text = JSON.stringify({ a: `\\"${"[{".repeat(500)}` });
    expect(readJson(put("texts.json", text))).toEqual(JSON.parse(text));
  });

  test("is refused unread where it is larger than such a file can be, or no ordinary file", () => {
    const path = put("large.json", "[1, 2]");
    expect(() => readJson(path, { maxBytes: 5 })).toThrow(`${path} has 0 MB`);
    expect(readJson(path, { maxBytes: 6 })).toEqual([1, 2]);
    expect(() => readJson("/dev/zero", { maxBytes: 6 })).toThrow("/dev/zero is no ordinary file");
  });
});
