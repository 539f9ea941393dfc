// A policy's weights at one moment of its training, without the optimizer's state.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import { Passes, readRecord } from "@spo/records";
import {
  type Device,
  Generator,
  noGrad,
  openSafetensors,
  type Tensor,
  UserError,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { makeFolder } from "@spo/torch/files";
import { z } from "zod";
import type { PolicySettings } from "../recipes/training/policy.js";
import { PolicyAdapter } from "../recipes/training/policy-adapter.js";
import type { Spent } from "./spent.js";

/** What learns, as trainings of policies name it. */
export interface PolicyShape extends Omit<PolicySettings, "ema" | "seed"> {
  model: string;
}

/** Where and when a snapshot was taken. */
export interface Snapshot {
  /** Of the training: rounds of SPO, updates of Diffusion-DPO. */
  step: number;
  spent: Spent;
}

const weightsAt = (folder: string): string => join(folder, "policy.safetensors");
const factsAt = (folder: string): string => join(folder, "snapshot.json");

const Facts = z.object({
  step: z.int(),
  spent: z.object({ wall: z.number(), cpu: z.number(), passes: Passes }),
});

/**
 * Takes the policy out of a file of a training's weights, a checkpoint's or a guard's. The facts are written last: when they are there, all
 * is there.
 */
export function takeSnapshot(folder: string, path: string, snapshot: Snapshot): void {
  makeFolder(folder);
  using file = openSafetensors(path);
  const weights = new Map<string, Tensor>();
  const names = [...file.keys()];
  // The average of weights, where the training keeps one, is its result.
  const prefix = names.some((name) => name.startsWith("average/")) ? "average/" : "policy/";
  for (const name of names) {
    if (name.startsWith(prefix)) weights.set(name.slice(prefix.length), file.get(name));
  }
  writeSafetensors(weightsAt(folder), weights);
  for (const tensor of weights.values()) tensor.dispose();
  writeFileAtomic(factsAt(folder), `${JSON.stringify(snapshot)}\n`);
}

export function readSnapshot(folder: string): Snapshot | undefined {
  if (!existsSync(factsAt(folder))) return undefined;
  const { step, spent } = readRecord(factsAt(folder), Facts);
  return { step, spent: spent as Spent };
}

/** The base with a snapshot's weights. Throws a UserError (`DATA`) where they do not fit. */
export function loadSnapshot(
  folder: string,
  { model, ...shape }: PolicyShape,
  { device }: { device?: Device } = {},
): TextToImage {
  const pipe = loadTextToImage(model, { device });
  const trained: { namedParameters(): Map<string, Tensor> } =
    shape.adapter === "lora" ? new PolicyAdapter(pipe, shape, () => new Generator(0)) : pipe.denoiser;
  using file = openSafetensors(weightsAt(folder));
  const names = new Set(file.keys());
  noGrad(() => {
    for (const [name, target] of trained.namedParameters()) {
      if (!names.delete(name)) throw misfit(folder, `${name} is missing`);
      using saved = file.get(name);
      target.detach().copy_(saved);
    }
  });
  for (const name of names) throw misfit(folder, `${name} is not in the model`);
  return pipe;
}

const misfit = (folder: string, what: string): UserError =>
  new UserError(`The snapshot ${folder} does not fit its model: ${what}.`, {
    code: "DATA",
    hint: "Its comparison was made with another model; start it anew.",
  });
