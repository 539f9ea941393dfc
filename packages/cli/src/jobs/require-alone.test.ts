import { expect, test } from "vitest";
import { requireAlone } from "./require-alone.js";

test("a command that one process does is refused to one of several, and to none that is alone", () => {
  const env = { RANK: "1", WORLD_SIZE: "2", MASTER_ADDR: "node-0", MASTER_PORT: "29500" };
  expect(() => requireAlone("spo label", env)).toThrow(
    expect.objectContaining({ code: "CONFIG", message: "spo label runs in one process, and here are 2." }),
  );
  expect(() => requireAlone("spo label", { ...env, RANK: "0", WORLD_SIZE: "1" })).not.toThrow();
  expect(() => requireAlone("spo label", {})).not.toThrow();
});
