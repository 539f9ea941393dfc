import { spawnSync } from "node:child_process";
import fs, {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  appendLine,
  asUserError,
  makeFolder,
  makeFolderToFill,
  removeLeftovers,
  renameDurably,
  requirePlace,
  syncFile,
  temporaryOf,
  UserError,
  writeFileAtomic,
} from "./files.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "files-"));
  path = join(folder, "deep", "down", "x.bin");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("writeFileAtomic", () => {
  test("writes text, bytes and chunks, and makes the folder", () => {
    writeFileAtomic(path, "grüße");
    expect(readFileSync(path, "utf8")).toBe("grüße");
    writeFileAtomic(path, Uint8Array.of(1, 2));
    expect([...readFileSync(path)]).toEqual([1, 2]);
    writeFileAtomic(path, [Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)]);
    expect([...readFileSync(path)]).toEqual([3, 4, 5]);
    expect(readdirSync(join(folder, "deep", "down"))).toEqual(["x.bin"]);
  });

  test.each(["ENOSPC", "EIO", "EDQUOT", "EACCES", "EROFS"])(
    "leaves the old file whole when the system refuses with %s, at whatever call",
    (code) => {
      writeFileAtomic(path, "old");
      let [calls, total] = [0, 1];
      for (let failing = 0; failing <= total; failing++) {
        calls = 0;
        const heal = sabotage(() => ++calls === failing, code);
        let thrown: unknown;
        try {
          writeFileAtomic(path, [Buffer.from("new"), Buffer.from("er")]);
        } catch (error) {
          thrown = error;
        } finally {
          heal();
        }
        if (failing === 0) {
          total = calls;
          writeFileAtomic(path, "old");
          continue;
        }
        expect(thrown).toBeInstanceOf(UserError);
        expect((thrown as UserError).code).toBe("RESOURCE");
        expect((thrown as UserError).message).toContain(join(folder, "deep", "down"));
        expect((thrown as UserError).cause).toMatchObject({ code });
        expect(["old", "newer"]).toContain(readFileSync(path, "utf8"));
        expect(readdirSync(join(folder, "deep", "down"))).toEqual(["x.bin"]);
        writeFileAtomic(path, "old");
      }
      expect(total).toBeGreaterThanOrEqual(7); // open, two writes, sync, rename, and the folder's open and sync
    },
  );

  test("leaves the old file whole when what it writes cannot be made", () => {
    writeFileAtomic(path, "old");
    const broken = (function* () {
      yield Buffer.from("half");
      throw new TypeError("no more");
    })();
    expect(() => writeFileAtomic(path, broken)).toThrow(new TypeError("no more"));
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(join(folder, "deep", "down"))).toEqual(["x.bin"]);
  });

  test("goes on after short writes", () => {
    const { writeSync } = fs;
    Object.assign(fs, {
      writeSync: (file: number, data: Uint8Array, at: number) => writeSync(file, data, at, 1),
    });
    syncBuiltinESMExports();
    try {
      writeFileAtomic(path, "in many pieces");
    } finally {
      Object.assign(fs, { writeSync });
      syncBuiltinESMExports();
    }
    expect(readFileSync(path, "utf8")).toBe("in many pieces");
  });

  test("says that a folder stands in the way, or a file where a folder should be", () => {
    expect(() => writeFileAtomic(folder, "x")).toThrow(`${folder} was not written`);
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => writeFileAtomic(join(file, "x"), "x")).toThrow("a part of its path is a file, not a folder");
  });

  test.skipIf(!existsSync("/dev/full"))("tells a full disk, and what to do about it", () => {
    symlinkSync("/dev/full", join(folder, "full"));
    const { code, message, hint } = asUserError(
      caught(() => fs.writeFileSync(join(folder, "full"), "x")),
      path,
    ) as UserError;
    expect(code).toBe("RESOURCE");
    expect(message).toBe(`The disk is full: ${path} was not written. What stood there before is untouched.`);
    expect(hint).toContain("Free some space");
  });
});

describe("appendLine", () => {
  test("adds whole lines and makes the file", () => {
    const log = join(folder, "log");
    appendLine(log, "one");
    appendLine(log, "zwei ü");
    expect(readFileSync(log, "utf8")).toBe("one\nzwei ü\n");
  });

  test("names the file that it cannot write", () => {
    expect(() => appendLine(path, "x")).toThrow(UserError);
    expect(() => appendLine(path, "x")).toThrow(path);
  });
});

describe("makeFolder and renameDurably", () => {
  test("make folders above, and give a file or folder its name", () => {
    makeFolder(join(folder, "a", "b"));
    makeFolder(join(folder, "a", "b"));
    writeFileSync(join(folder, "a", "b", "x"), "1");
    renameDurably(join(folder, "a"), join(folder, "c"));
    expect(readFileSync(join(folder, "c", "b", "x"), "utf8")).toBe("1");
  });

  test("name what they cannot make", () => {
    writeFileSync(join(folder, "file"), "");
    expect(() => makeFolder(join(folder, "file", "x"))).toThrow(join(folder, "file", "x"));
    expect(() => renameDurably(join(folder, "nowhere"), join(folder, "c"))).toThrow(UserError);
    expect(() => syncFile(join(folder, "nowhere"))).toThrow(UserError);
  });
});

// Node's own recursive mkdir never comes back from there.
test.skipIf(!existsSync("/proc/self"))("where the system makes no folder, it is said at once", () => {
  expect(() => makeFolder("/proc/no/folder")).toThrow(
    "/proc/no/folder was not written: no folder can be made there.",
  );
  expect(() => writeFileAtomic("/proc/no/folder/x", "x")).toThrow("no folder can be made there");
});

describe("requirePlace", () => {
  test("agrees with places that are there or can be made, and makes nothing", () => {
    requirePlace(folder, "folder");
    requirePlace(path, "folder");
    requirePlace(path, "file");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("refuses a file where a folder should be, the other way round, and what lies below a file", () => {
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => requirePlace(file, "folder")).toThrow("a part of its path is a file, not a folder");
    expect(() => requirePlace(join(file, "x"), "file")).toThrow("a part of its path is a file, not a folder");
    expect(() => requirePlace(folder, "file")).toThrow(`${folder} was not written: it is a folder.`);
    requirePlace(file, "file"); // which would be replaced
  });

  test.each(["EACCES", "EROFS"])("refuses where the system does, with %s", (code) => {
    const { accessSync } = fs;
    Object.assign(fs, {
      accessSync: () => {
        throw Object.assign(new Error(code), { code, syscall: "access" });
      },
    });
    syncBuiltinESMExports();
    try {
      expect(() => requirePlace(path, "folder")).toThrow(UserError);
    } finally {
      Object.assign(fs, { accessSync });
      syncBuiltinESMExports();
    }
  });
});

test("makeFolderToFill takes away again what it made and nobody filled", () => {
  {
    using _ = makeFolderToFill(join(folder, "a", "b"));
    expect(existsSync(join(folder, "a", "b"))).toBe(true);
  }
  expect(readdirSync(folder)).toEqual([]);
  {
    using _ = makeFolderToFill(join(folder, "a", "b"));
    writeFileSync(join(folder, "a", "x"), "");
  }
  expect(readdirSync(join(folder, "a"))).toEqual(["x"]);
});

test("removeLeftovers takes away what dead processes left of this path, and nothing else", () => {
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const kept = [`x.bin.${process.pid}.tmp`, `xybin.${dead}.tmp`, `x.bin.${dead}.tmp.txt`, "x.bin"];
  for (const name of kept) writeFileSync(join(folder, name), "");
  mkdirSync(join(folder, `x.bin.${dead}.tmp`, "within"), { recursive: true });
  removeLeftovers(join(folder, "x.bin"));
  expect(readdirSync(folder).sort()).toEqual(kept.sort());
  removeLeftovers(join(folder, "nowhere", "x.bin"));
});

test("a folder is made beside its place, also where that ends in a slash", () => {
  expect(temporaryOf(`${folder}/out/`)).toBe(join(folder, `out.${process.pid}.tmp`));
});

describe("asUserError", () => {
  test("leaves what is no fault of the file system as it is", () => {
    const bug = new TypeError("a bug");
    expect(asUserError(bug, path)).toBe(bug);
  });

  test("says in words why a place cannot be written", () => {
    const secret = join(folder, "secret");
    writeFileSync(secret, "");
    chmodSync(secret, 0o400);
    const denied = Object.assign(new Error("EACCES: permission denied"), { code: "EACCES", syscall: "open" });
    expect((asUserError(denied, secret) as UserError).message).toBe(
      `${secret} was not written: you may not write there.`,
    );
  });
});

function caught(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("it did not throw");
}

/** Makes the calls that write fail where `isDue` says so. */
function sabotage(isDue: () => boolean, code: string): () => void {
  const names = ["openSync", "writeSync", "fsyncSync", "renameSync", "mkdirSync"] as const;
  const originals = names.map((name) => [name, fs[name]] as const);
  for (const [name, original] of originals) {
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        if (isDue()) throw Object.assign(new Error(`${code}: no luck, ${name}`), { code, syscall: name });
        return (original as (...args: unknown[]) => unknown)(...args);
      },
    });
  }
  syncBuiltinESMExports();
  return () => {
    Object.assign(fs, Object.fromEntries(originals));
    syncBuiltinESMExports();
  };
}
