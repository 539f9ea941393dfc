import { existsSync } from "node:fs";
import { nearest, type Place } from "@spo/records/config";
import { UserError } from "@spo/torch/files";
import { isModule } from "./own-reward.js";

/** The scorers that are built in. */
export const REWARDS = ["pickscore", "clip", "hps", "imagereward", "aesthetic", "spm"] as const;
/** One of `REWARDS`. */
export type RewardName = (typeof REWARDS)[number];

/** Files beside the scorer's own that a spec may name. */
const REWARD_OPTIONS = {
  tokenizer: ["pickscore", "clip", "hps", "imagereward", "spm"],
  clip: ["aesthetic"],
} as const satisfies Record<string, readonly RewardName[]>;
/** A file that a spec may name behind the scorer's own. */
export type RewardOption = keyof typeof REWARD_OPTIONS;

/** Which scorer, and from where. */
export type RewardSpec =
  | { kind: RewardName; path: string; options: Partial<Record<RewardOption, string>> }
  | { kind: "own"; path: string };

/**
 * Reads `NAME:PATH[,OPTION=PATH…]`, or the path of a user's module. Throws a UserError (`USAGE`) that says what is wrong with it.
 */
export function parseRewardSpec(text: string): RewardSpec {
  const bad = (what: string): UserError =>
    new UserError(`The metric ${JSON.stringify(text)} ${what}.`, {
      code: "USAGE",
      hint: `Write NAME:PATH, as pickscore:./PickScore_v1, or the path of a module of your own. Names: ${REWARDS.join(", ")}.`,
    });
  const [head = "", ...rest] = text.split(",");
  const colon = head.indexOf(":");
  const name = head.slice(0, Math.max(0, colon));
  if (!isReward(name)) {
    if (isModule(head) && rest.length === 0) return { kind: "own", path: head };
    const meant = nearest(name || head, REWARDS);
    throw bad(
      colon < 0 && isReward(head)
        ? "says not where its files are"
        : `is none${meant ? `; did you mean ${meant}?` : ""}`,
    );
  }
  const path = head.slice(colon + 1);
  if (path === "") throw bad("says not where its files are");
  const options: Partial<Record<RewardOption, string>> = {};
  for (const part of rest) {
    const [key = "", value = ""] = part.split(/=(.*)/s);
    if (!isOption(key) || !(REWARD_OPTIONS[key] as readonly RewardName[]).includes(name)) {
      const known = Object.entries(REWARD_OPTIONS).flatMap(([option, takers]) =>
        (takers as readonly RewardName[]).includes(name) ? [option] : [],
      );
      throw bad(`has the option ${JSON.stringify(key)}; ${name} takes ${known.join(", ") || "none"}`);
    }
    if (value === "") throw bad(`gives no path for ${key}`);
    options[key] = value;
  }
  return { kind: name, path, options };
}

/** `a:x,b:y,tokenizer=z` → `a:x`, `b:y,tokenizer=z`: commas stand between scorers and before their options. */
export function splitRewardSpecs(list: string): string[] {
  const specs: string[] = [];
  for (const part of list.split(",")) {
    const key = part.split("=")[0] as string;
    if (specs.length > 0 && isOption(key)) specs[specs.length - 1] += `,${part}`;
    else specs.push(part);
  }
  return specs;
}

/** `0.7*spm,0.3*clip:x,tokenizer=z` → 0.7 and `spm`, 0.3 and `clip:x,tokenizer=z`: scorers with weights; without a number 1. */
export const splitWeightedSpecs = (list: string): { weight: number; spec: string }[] =>
  splitRewardSpecs(list).map((part) => {
    const [, number, rest] = WEIGHTED.exec(part) ?? [];
    return rest === undefined ? { weight: 1, spec: part } : { weight: Number(number), spec: rest };
  });

/**
 * A list of scorers with weights, with other paths in it: of modules and folders, and behind the names of those that are built in, where
 * they may also be names on a hub. A word without a slash is no path unless it is a module's file.
 *
 * Throws as `parseRewardSpec`.
 */
export function mapSpecPaths(list: string, change: (path: string, place: Place) => string): string {
  if (list.includes(",") && existsSync(list)) return change(list, "path");
  return splitRewardSpecs(list)
    .map((part) => {
      const [whole, number, rest] = WEIGHTED.exec(part) ?? [];
      return whole === undefined
        ? pathsOfOne(part, change)
        : `${number}*${pathsOfOne(rest as string, change)}`;
    })
    .join(",");
}

function pathsOfOne(spec: string, change: (path: string, place: Place) => string): string {
  if (!/^[a-z-]+:./.test(spec)) return isModule(spec) || /[/\\]/.test(spec) ? change(spec, "path") : spec;
  const parsed = parseRewardSpec(spec);
  if (parsed.kind === "own") return change(parsed.path, "path");
  const more = Object.entries(parsed.options).map(([key, path]) => `${key}=${change(path, "model")}`);
  return [`${parsed.kind}:${change(parsed.path, "model")}`, ...more].join(",");
}

const WEIGHTED = /^\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*\*\s*(.+)$/s;

const isReward = (name: string): name is RewardName => (REWARDS as readonly string[]).includes(name);
const isOption = (key: string): key is RewardOption => Object.hasOwn(REWARD_OPTIONS, key);
