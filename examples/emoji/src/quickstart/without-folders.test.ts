import { expect, test } from "vitest";
import { withoutFolders } from "./without-folders.js";

test("folders of the machine are left out of texts, lists and nested settings, and nothing else changes", () => {
  const settings = {
    model: "/anywhere/example/model",
    pairs: ["/anywhere/example/data/pairs.parquet", "elsewhere.parquet"],
    relabel: { by: "spm:/anywhere/runs/q/spm" },
    steps: 50,
    teacher: null,
  };
  expect(withoutFolders(settings, { example: "/anywhere/example", folder: "/anywhere/runs/q" })).toEqual({
    model: "example/model",
    pairs: ["example/data/pairs.parquet", "elsewhere.parquet"],
    relabel: { by: "spm:run/spm" },
    steps: 50,
    teacher: null,
  });
});
