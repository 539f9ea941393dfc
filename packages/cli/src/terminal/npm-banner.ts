// `npm run` prints the script's name and command to stdout, which is for data only.
import { UserError } from "@spo/torch/files";

/** Throws a UserError (`USAGE`) for `--json` of a script that npm runs with lines of its own on stdout. */
export function refuseNpmBanner(words: readonly string[], env: NodeJS.ProcessEnv = process.env): void {
  const script = env.npm_lifecycle_event ?? "";
  if (!words.includes("--json") || env.npm_package_name !== "spo-workspace") return;
  if (!["spo", "quickstart"].includes(script) || env.npm_config_loglevel === "silent") return;
  throw new UserError("npm run writes lines of its own to stdout, which then is no JSON.", {
    code: "USAGE",
    hint: `Call npx spo ${script === "spo" ? "…" : script} --json, or npm run --silent ${script} -- … --json.`,
  });
}
