// @ts-check
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exclusively } from "./exclusive.js";
import { FakeTools } from "./fake-tools.mjs";

/** @type {FakeTools} */
let tools;
beforeEach(() => {
  tools = new FakeTools([]);
});
afterEach(() => tools[Symbol.dispose]());

const module = JSON.stringify(new URL("./exclusive.js", import.meta.url).href);
/** A process that holds the lock until a file is there. @param {{ until?: () => boolean }} [options] */
const holder = (options) =>
  tools.node(
    [
      "--input-type=module",
      "-e",
      `const fs = await import("node:fs");
       const { exclusively } = await import(${module});
       await exclusively(${JSON.stringify(tools.folder)}, () => {}, async () => {
         fs.writeFileSync("held", "");
         while (!fs.existsSync("enough")) await new Promise((done) => setTimeout(done, 10));
       });`,
    ],
    options,
  );
const held = () => existsSync(join(tools.folder, "held"));
const untilHeld = async () => {
  while (!held()) await new Promise((done) => setTimeout(done, 10));
};

test("work of one name waits for that of another process, says so once, and gives its value", async () => {
  const other = holder();
  await untilHeld();
  let waits = 0;
  let ended = false;
  const mine = exclusively(
    tools.folder,
    () => {
      waits++;
      writeFileSync(join(tools.folder, "enough"), "");
    },
    async () => ended,
  );
  other.then(() => {
    ended = true;
  });
  expect(await other).toMatchObject({ code: 0 });
  expect(typeof (await mine)).toBe("boolean");
  expect(waits).toBe(1);
});

test("a killed holder leaves no lock behind", async () => {
  expect(await holder({ until: held })).toMatchObject({ signal: "SIGKILL" });
  let waits = 0;
  expect(
    await exclusively(
      tools.folder,
      () => waits++,
      async () => "done",
    ),
  ).toBe("done");
  expect(waits).toBe(0);
});

test("work that throws gives the lock back", async () => {
  const failing = exclusively(
    tools.folder,
    () => {},
    async () => {
      throw new Error("stop");
    },
  );
  await expect(failing).rejects.toThrow("stop");
  expect(
    await exclusively(
      tools.folder,
      () => {},
      async () => 1,
    ),
  ).toBe(1);
});

test("work of another name goes on at once", async () => {
  const result = await exclusively(
    tools.folder,
    () => {},
    () =>
      exclusively(
        `${tools.folder}-other`,
        () => {},
        async () => 2,
      ),
  );
  expect(result).toBe(2);
});
