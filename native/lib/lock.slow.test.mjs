// @ts-check
import { spawn, spawnSync } from "node:child_process";
import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LockTaken, lockOwner, takeLock, thisProcess, withLock } from "./lock.js";

/** @type {string} */
let folder;
/** @type {string} */
let path;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-lock-"));
  path = join(folder, "writer.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** @param {object} owner */
const write = (owner) => writeFileSync(path, JSON.stringify(owner));
const content = () => JSON.parse(readFileSync(path, "utf8"));
/** @param {() => void} work */
const refusal = (work) => {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
};

test("a lock names its process, start, host, boot and pid namespace, and goes when it is given back", () => {
  const lock = takeLock(path);
  expect(content()).toMatchObject({ pid: process.pid, host: hostname(), token: expect.any(String) });
  if (process.platform === "linux") {
    expect(content()).toMatchObject({
      started: expect.stringMatching(/^\d+$/),
      boot: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
      pidNamespace: expect.stringMatching(/^pid:/),
    });
  }
  expect(lock.isHeld()).toBe(true);
  expect(lockOwner(path)).toMatchObject({ pid: process.pid });
  lock.release();
  expect(lock.isHeld()).toBe(false);
  expect(readdirSync(folder)).toEqual([]);
});

test("its file is whole before it has its name", () => {
  const { linkSync } = fs;
  let seen = "";
  patch("linkSync", (/** @type {string} */ from, /** @type {string} */ to) => {
    expect(existsSync(path)).toBe(false);
    seen = readFileSync(from, "utf8");
    linkSync(from, to);
  });
  try {
    const lock = takeLock(path);
    expect(seen).toBe(readFileSync(path, "utf8"));
    lock.release();
  } finally {
    patch("linkSync", linkSync);
  }
});

describe("a lock that is there", () => {
  test("of this process is not given twice, by whatever path", () => {
    const lock = takeLock(path);
    symlinkSync(folder, `${folder}-too`);
    try {
      expect(refusal(() => takeLock(path))).toBeInstanceOf(LockTaken);
      expect(refusal(() => takeLock(join(`${folder}-too`, "writer.json")))).toMatchObject({
        owner: { pid: process.pid },
      });
    } finally {
      rmSync(`${folder}-too`);
      lock.release();
    }
  });

  test("of a living process of this place is refused at once, however old its last sign is", () => {
    write({ ...thisProcess() });
    utimesSync(path, new Date(0), new Date(0));
    const text = readFileSync(path, "utf8");
    expect(refusal(() => takeLock(path, { silenceMs: 0 }))).toMatchObject({ owner: { pid: process.pid } });
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test.each([
    ["that has ended", { pid: spawnSync("true").pid }],
    ["whose number another has now", { started: "1" }],
    ["of an earlier version", { boot: undefined, pidNamespace: undefined, started: "1" }],
  ])("of a process of this place %s is taken over at once", (_, owner) => {
    write({ ...thisProcess(), ...owner });
    const lock = takeLock(path, { onDoubt: () => expect.unreachable() });
    expect(content()).toMatchObject({ pid: process.pid, started: thisProcess().started });
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  test.runIf(process.platform === "linux")(
    "of a process that ended and was not waited for is taken over",
    async () => {
      // The shell becomes a program that never asks for its child.
      const parent = spawn("sh", ["-c", "sleep 0.3 & echo $!; exec sleep 100"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      const pid = await new Promise((done) => parent.stdout.once("data", (data) => done(Number(data))));
      const stat = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      while (stat()[0] !== "Z") await new Promise((done) => setTimeout(done, 5));
      write({ ...thisProcess(), pid, started: stat()[19] });
      takeLock(path).release();
      parent.kill();
    },
  );

  test.each(["", "{", "null", "[1]", '{"pid":"1"}', "\0\0\0"])(
    "with %j in it is a torn one and taken over",
    (text) => {
      writeFileSync(path, text);
      takeLock(path, { onDoubt: () => expect.unreachable() }).release();
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  test("that is a folder is no lock, and the fault says so", () => {
    fs.mkdirSync(path);
    expect(refusal(() => takeLock(path))).toMatchObject({ code: "EISDIR" });
    expect(lockOwner(path)).toBeUndefined();
    fs.rmdirSync(path);
    symlinkSync(join(folder, "nowhere"), path);
    expect(lockOwner(path)).toBeUndefined();
  });
});

/** @type {[string, object][]} */
const ELSEWHERE = [
  ["on another machine", { boot: "another", host: "elsewhere" }],
  ["on another machine of the same name", { boot: "another" }],
  ["in another pid namespace", { pidNamespace: "pid:[1]" }],
  ["in a pid namespace that is not known", { pidNamespace: undefined }],
];

describe.each(ELSEWHERE)("an owner %s, whose number means nothing here,", (_, place) => {
  // Once a number of a living process, once of none.
  const owners = [process.pid, 2 ** 22 + 1].map((pid) => ({
    ...thisProcess(),
    ...place,
    pid,
  }));
  const when = [new Date(0), new Date(), new Date(Date.now() + 1e10)]; // whatever the clocks are set to

  test("is dead when it gives no sign of life, and not before", () => {
    for (const [i, owner] of owners.entries()) {
      write(owner);
      utimesSync(path, when[i] ?? 0, when[i] ?? 0);
      const doubts = /** @type {unknown[]} */ ([]);
      const began = performance.now();
      takeLock(path, { silenceMs: 250, onDoubt: (told) => doubts.push(told) }).release();
      expect(performance.now() - began).toBeGreaterThan(250);
      expect(doubts).toMatchObject([{ pid: owner.pid }]);
    }
  });

  test("lives when it gives one, and keeps its lock", async () => {
    write(/** @type {object} */ (owners[1]));
    utimesSync(path, 9e9, 9e9);
    const text = readFileSync(path, "utf8");
    const toucher = new Worker(
      `const { utimesSync } = require("node:fs");
       let at = 8e9; // its clock goes backwards
       setInterval(() => utimesSync(${JSON.stringify(path)}, at, at--), 20);`,
      { eval: true },
    );
    expect(refusal(() => takeLock(path, { silenceMs: 60_000 }))).toBeInstanceOf(LockTaken);
    await toucher.terminate();
    expect(readFileSync(path, "utf8")).toBe(text);
  });
});

test("the owner gives signs of life also while it computes without a pause", async () => {
  const program = `
    const { takeLock } = await import(${JSON.stringify(new URL("./lock.js", import.meta.url).href)});
    const { statSync } = await import("node:fs");
    takeLock(${JSON.stringify(path)}, { beatMs: 50 });
    const sign = () => statSync(${JSON.stringify(path)}).mtimeMs;
    for (const [before, began] = [sign(), performance.now()]; sign() === before; )
      if (performance.now() - began > 60_000) process.exit(1); // one call that does not come back
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
  expect(await new Promise((done) => child.once("exit", done))).toBe(0);
  expect(readdirSync(folder)).toEqual([]); // its end gave it back
});

test("another's lock is not removed by who lost it, and who lost it can see that", () => {
  const lock = takeLock(path);
  write({ ...thisProcess(), token: "another's" });
  expect(lock.isHeld()).toBe(false);
  lock.release();
  expect(content().token).toBe("another's");
});

test("what was left by one that was killed as it took a lock over is in nobody's way, and removed", () => {
  const dead = { ...thisProcess(), pid: spawnSync("true").pid };
  write(dead);
  const { renameSync } = fs;
  // As if it was killed before it renamed.
  patch("renameSync", () => {
    throw new Error("killed");
  });
  const { rmSync: remove } = fs;
  patch("rmSync", () => {});
  expect(() => takeLock(path)).toThrow("killed");
  patch("renameSync", renameSync);
  patch("rmSync", remove);
  const left = readdirSync(folder);
  expect(left).toHaveLength(4); // the lock, the right of succession, and what both were made as
  for (const name of left) {
    const text = readFileSync(join(folder, name), "utf8").replace(
      `"pid":${process.pid}`,
      `"pid":${dead.pid}`,
    );
    rmSync(join(folder, name));
    writeFileSync(join(folder, name.replace(`.${process.pid}-`, `.${dead.pid}-`)), text);
  }
  const lock = takeLock(path);
  expect(content().pid).toBe(process.pid);
  lock.release();
  expect(readdirSync(folder)).toEqual([]);
});

test.each(["EPERM", "ENOTSUP", "ENOSYS"])(
  "where there are no hard links (%s) a lock is taken, refused and taken over all the same",
  (code) => {
    const { linkSync } = fs;
    patch("linkSync", () => {
      throw Object.assign(new Error(code), { code, syscall: "link" });
    });
    try {
      const lock = takeLock(path);
      expect(refusal(() => takeLock(path))).toBeInstanceOf(LockTaken);
      lock.release();
      write({ ...thisProcess(), pid: spawnSync("true").pid });
      takeLock(path).release();
      // One that is being made may be seen empty: it is waited for.
      writeFileSync(path, "");
      let doubts = 0;
      takeLock(path, { silenceMs: 150, onDoubt: () => doubts++ }).release();
      expect(doubts).toBe(1);
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      patch("linkSync", linkSync);
    }
  },
);

describe("withLock", () => {
  test("work of one lock waits for that of another, says so once, and both give their values", async () => {
    const order = /** @type {string[]} */ ([]);
    let waits = 0;
    /** @type {(value: string) => void} */
    let end = () => {};
    const first = withLock(join(folder, "deep", "a.lock"), () => new Promise((done) => (end = done)));
    const second = withLock(
      join(folder, "deep", "a.lock"),
      async () => {
        order.push("second");
        return 2;
      },
      {
        onWait: () => {
          waits++;
          order.push("first");
          end("one");
        },
      },
    );
    expect(await Promise.all([first, second])).toEqual(["one", 2]);
    expect([order, waits]).toEqual([["first", "second"], 1]);
    expect(readdirSync(join(folder, "deep"))).toEqual([]);
  });

  test("work that throws gives the lock back, and waiting ends with the signal", async () => {
    await expect(
      withLock(path, async () => {
        throw new Error("stop");
      }),
    ).rejects.toThrow("stop");
    const lock = takeLock(path);
    const controller = new AbortController();
    const waiting = withLock(path, async () => 1, {
      signal: controller.signal,
      onWait: () => controller.abort(new Error("enough")),
    });
    await expect(waiting).rejects.toThrow("enough");
    lock.release();
  });
});

test("the end of the process gives its locks back", () => {
  const module = JSON.stringify(new URL("./lock.js", import.meta.url).href);
  const { status } = spawnSync(process.execPath, [
    "--input-type=module",
    "-e",
    `const { takeLock } = await import(${module}); takeLock(${JSON.stringify(path)}); process.exit(3);`,
  ]);
  expect(status).toBe(3);
  expect(readdirSync(folder)).toEqual([]);
});

/** @param {string} name @param {unknown} replacement */
function patch(name, replacement) {
  Object.assign(fs, { [name]: replacement });
  syncBuiltinESMExports();
}

test("what has a lock's name and is none has no owner", () => {
  mkdirSync(path);
  expect(lockOwner(path)).toBeUndefined();
  rmSync(path, { recursive: true });
  symlinkSync("nowhere", path);
  expect(lockOwner(path)).toBeUndefined();
  rmSync(path);
  symlinkSync("writer.json", path);
  expect(lockOwner(path)).toBeUndefined();
});
