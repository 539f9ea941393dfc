import { expect, test } from "vitest";
import { withoutFolders } from "./without-folders.js";

test("folders of the machine are left out of texts, lists and nested settings, and nothing else changes", () => {
  const settings = {
    model: "/home/a/example/model",
    pairs: ["/home/a/example/data/pairs.parquet", "elsewhere.parquet"],
    relabel: { by: "spm:/home/a/runs/q/spm" },
    steps: 50,
    teacher: null,
  };
  expect(withoutFolders(settings, { example: "/home/a/example", folder: "/home/a/runs/q" })).toEqual({
    model: "example/model",
    pairs: ["example/data/pairs.parquet", "elsewhere.parquet"],
    relabel: { by: "spm:run/spm" },
    steps: 50,
    teacher: null,
  });
});
