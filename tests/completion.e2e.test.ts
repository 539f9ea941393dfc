// What a shell asks at each press of a key is answered without the engine and without an image library.
import { expect, test } from "vitest";
import { run } from "../native/lib/run.js";
import { cli } from "./cli.js";

/** Refuses the addon, which loads libtorch, and that of sharp. */
const GUARD = `const { dlopen } = process;
  process.dlopen = function (module, file, ...rest) {
    if (/spo\\.node$|sharp/.test(file)) throw new Error("it is loaded: " + file);
    return dlopen.call(this, module, file, ...rest);
  };`;

const env = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(GUARD)}` };

test.each([
  ["train spo --ju", "--judge"],
  ["plan dpo --mic", "--micro-batch"],
  ["data check --la", "--layout"],
  ["label --lay", "--layout"],
  ["sample --guid", "--guidance-scale"],
  ["eval --metr", "--metrics"],
  ["convert --dt", "--dtype"],
  ["compare --val", "--validator"],
  ["pretrain vae --da", "--data"],
  ["quickstart --fa", "--fast"],
])("spo %s is completed to %s", async (line, word) => {
  const { code, stdout, stderr } = await cli(["completion", "words", "--", ...line.split(" ")], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.split("\t")[0]).toBe(word);
});

test("the guard is one that neither passes", async () => {
  for (const name of ["@spo/torch", "@spo/data"]) {
    const { code, stderr } = await run(process.execPath, ["--input-type=module", "-e", `import "${name}"`], {
      env,
    });
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("it is loaded") });
  }
});
