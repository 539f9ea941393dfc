import { parseRewardSpec, type RewardSpec } from "@spo/scorers/reward-spec";
import { resolveModel } from "./resolve-model.js";

/** A scorer as the command line names it, with paths in place of the hub's names. Throws a UserError (`USAGE`) for what names none. */
export async function resolveReward(spec: string, { quiet }: { quiet?: boolean } = {}): Promise<RewardSpec> {
  const parsed = parseRewardSpec(spec);
  if (parsed.kind === "own") return parsed;
  const options: (typeof parsed)["options"] = {};
  for (const [key, path] of Object.entries(parsed.options))
    options[key as keyof typeof options] = await resolveModel(path, { quiet });
  return { ...parsed, path: await resolveModel(parsed.path, { quiet }), options };
}

/** The same as words again, for a config. */
export async function resolveRewardWords(spec: string, options: { quiet?: boolean } = {}): Promise<string> {
  const found = await resolveReward(spec, options);
  if (found.kind === "own") return found.path;
  const more = Object.entries(found.options).map(([key, path]) => `${key}=${path}`);
  return [`${found.kind}:${found.path}`, ...more].join(",");
}
