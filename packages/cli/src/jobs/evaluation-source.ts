// What `spo eval` is asked to evaluate: models with adapters, runs, or images that are there.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { LoraStack, loadTextToImage, type TextToImage } from "@spo/diffusion";
import { pathOfRun, readRun } from "@spo/records";
import type { Device, DType } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { type LoraChoice, resolveLoras } from "../options/lora-option.js";
import { resolveModel } from "../options/resolve-model.js";

/** One thing to evaluate. Paths are on this machine. */
export type EvaluationSource = { name: string; text: string } & (
  | { kind: "images"; path: string }
  | { kind: "model"; path: string; configs?: string; loras: readonly LoraChoice[] }
);

/**
 * `MODEL[,lora=FILE[:WEIGHT]…][,name=TEXT]` or `images:PATH[,name=TEXT]`. Names of a hub are fetched.
 *
 * Each has a name of its own: that of its path and adapters where none is given. Throws UserErrors for what cannot be read.
 */
export async function resolveSources(
  texts: readonly string[],
  { quiet }: { quiet?: boolean },
): Promise<EvaluationSource[]> {
  const sources: EvaluationSource[] = [];
  for (const text of texts) {
    const source = await resolveSource(text, { quiet });
    const taken = (name: string): boolean => sources.some((other) => other.name === name);
    let name = source.name;
    for (let i = 2; taken(name); i++) name = `${source.name}-${i}`;
    sources.push({ ...source, name });
  }
  return sources;
}

async function resolveSource(text: string, { quiet }: { quiet?: boolean }): Promise<EvaluationSource> {
  const [head = "", ...rest] = text.split(",");
  const options = rest.map((part) => part.split(/=(.*)/s) as [string, string | undefined, string]);
  for (const [key, value] of options) {
    if (!["lora", "name"].includes(key) || !value) {
      throw new UserError(`${text}: ${JSON.stringify(key)} is no option of a model with a value.`, {
        code: "USAGE",
        hint: "Behind a model may stand ,lora=FILE[:WEIGHT] and ,name=TEXT.",
      });
    }
  }
  const given = options.find(([key]) => key === "name")?.[1];
  const loraTexts = options.flatMap(([key, value]) => (key === "lora" ? [value as string] : []));
  if (head.startsWith("images:")) {
    const path = head.slice("images:".length);
    if (loraTexts.length > 0)
      throw new UserError(`${text}: images that are there take no LoRA.`, { code: "USAGE" });
    return { kind: "images", name: given ?? basename(resolve(path)), text, path };
  }
  const loras = await resolveLoras(loraTexts, { quiet });
  const run = runOf(head);
  const name = given ?? [basename(resolve(head)), ...loras.map(({ file }) => stem(file))].join("+");
  if (run) return { kind: "model", name, text, ...run, loras: [...run.loras, ...loras] };
  return { kind: "model", name, text, path: await resolveModel(head, { quiet }), loras };
}

const TRAININGS = ["train spo", "train dpo"];

/** What a finished run of a training has made: adapters on its base, or a whole model. Undefined for what is no run. */
function runOf(folder: string): { path: string; configs?: string; loras: LoraChoice[] } | undefined {
  if (!existsSync(join(folder, "events.jsonl")) || existsSync(join(folder, "model_index.json")))
    return undefined;
  const run = readRun(folder);
  const { kind, config, result } = run;
  if (!TRAININGS.includes(kind) || !result) {
    throw new UserError(
      `${folder} is ${TRAININGS.includes(kind) ? "not finished" : `a run of ${kind}, which makes no model to evaluate`}.`,
      { code: "DATA", hint: `Give a model, or a finished run of ${TRAININGS.join(" or ")}.` },
    );
  }
  const output = pathOfRun(run, String(config.output), { what: "result", made: true });
  const adapter = join(output, "pytorch_lora_weights.safetensors");
  if (!existsSync(adapter)) return { path: output, loras: [] };
  const configs =
    typeof config.configs === "string" ? pathOfRun(run, config.configs, { what: "configs" }) : undefined;
  return {
    path: pathOfRun(run, String(config.model), { what: "model" }),
    configs,
    loras: [{ file: adapter, weight: 1 }],
  };
}

const stem = (path: string): string => basename(path).replace(/\.[^.]*$/, "");

/** Loads a model with its adapters in its weights. */
export function loadSource(
  { path, configs, loras }: Extract<EvaluationSource, { kind: "model" }>,
  { dtype, device }: { dtype: DType; device: Device },
): TextToImage {
  const pipe = loadTextToImage(path, { configs, dtype, device });
  new LoraStack(
    pipe.models,
    loras.map(({ file, weight }) => ({ path: file, weight })),
  ).fuse();
  return pipe;
}

/** A digest of a file's or folder's names, sizes and times of change: another one where a model was trained anew in its place. */
export function fingerprint(paths: readonly string[]): string {
  const hash = createHash("sha256");
  const add = (path: string, name: string): void => {
    const facts = statSync(path);
    if (facts.isDirectory())
      for (const each of readdirSync(path).sort()) add(join(path, each), `${name}/${each}`);
    else hash.update(`${name} ${facts.size} ${facts.mtimeMs}\n`);
  };
  for (const path of paths) add(path, basename(path));
  return hash.digest("hex");
}
