// What a shell asks at each press of a key is answered without the engine.
import { expect, test } from "vitest";
import { cli } from "./cli.js";

/** Refuses the addon, which loads libtorch. */
const GUARD = `const { dlopen } = process;
  process.dlopen = function (module, file, ...rest) {
    if (/spo\\.node$/.test(file)) throw new Error("the engine is loaded: " + file);
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

test("the guard is one that the engine does not pass", async () => {
  const { stdout } = await cli(["doctor", "--json"], { env });
  expect(stdout).toContain("the engine is loaded");
});
