import { expect, test } from "vitest";
import { parseHubId } from "./hub-id.js";

test.each([
  ["org/name", { repo: "org/name", revision: "main", file: undefined }],
  ["org/name@fp16", { repo: "org/name", revision: "fp16", file: undefined }],
  ["org/name@refs/pr/3", { repo: "org/name", revision: "refs/pr/3", file: undefined }],
  [
    "org/my.name-2/loras/a.safetensors",
    { repo: "org/my.name-2", revision: "main", file: "loras/a.safetensors" },
  ],
  ["org/name/a.safetensors@v1", { repo: "org/name", revision: "v1", file: "a.safetensors" }],
])("%s is read", (text, id) => expect(parseHubId(text)).toEqual(id));

test.each([
  "name",
  "./runs/first",
  "../first",
  "/runs/first",
  "runs/first/",
  "org/name/../../etc",
  "org/name@../../x",
  "org/name@",
  "org\\name",
  "C:/models/sd15",
  "org/na--me",
  "~/models",
  "org/name/\x1b[2Jevil.json",
  "org/name/\x9b2J.json",
  "org/name/safe\u202enosj.exe",
  "org/name/a\u200b.json",
  "org/name/a\nb.json",
])("%j is no name on a hub", (text) => expect(parseHubId(text)).toBeUndefined());
