import { UserError } from "@spo/torch/files";
import { expect, test } from "vitest";
import { refuseNpmBanner } from "./npm-banner.js";

const env = { npm_package_name: "spo-workspace", npm_lifecycle_event: "quickstart" };

test.each([
  [["quickstart", "--json"], env],
  [["plan", "spo", "--json"], { ...env, npm_lifecycle_event: "spo" }],
  [["plan", "spo", "--json"], { ...env, npm_lifecycle_event: "spo", npm_config_loglevel: "notice" }],
])("%j under %j is refused, for npm's lines would stand before the JSON", (words, env) => {
  expect(() => refuseNpmBanner(words, env)).toThrow(UserError);
});

test.each([
  [["quickstart"], env],
  [["quickstart", "--json"], {}],
  [["quickstart", "--json"], { ...env, npm_config_loglevel: "silent" }],
  [["quickstart", "--json"], { ...env, npm_lifecycle_event: "npx" }],
  [["plan", "spo", "--json"], { npm_package_name: "mine", npm_lifecycle_event: "spo" }],
])("%j under %j is not", (words, env) => {
  expect(() => refuseNpmBanner(words, env)).not.toThrow();
});
