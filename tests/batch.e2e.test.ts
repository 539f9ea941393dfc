// The same seed gives the same image at any batch size, to the bit: every way of sampling, in the command itself.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@spo/cli";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { words } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const SIZES = [1, 2, 3, 5];
const folder = mkdtempSync(join(tmpdir(), "spo-batch-"));
const worlds = new Map<string, TinyWorld>();
const prompts = join(folder, "prompts.txt");
let calls = 0;

beforeAll(async () => {
  for (const family of ["sd15", "sdxl"] as const)
    worlds.set(family, await makeTinyWorld(join(folder, family), family));
  writeFileSync(
    prompts,
    [
      ...["red apple", "green leaf --d 7", "blue fish", "yellow sun", "white cloud"],
      ...["red sun --w 24 --h 16", "green fish --w 24 --h 16", "blue apple --s 3", "white leaf --l 1"],
      ...["yellow leaf --l 1", "red cloud --n blurry", "blue leaf --n blurry"],
    ].join("\n"),
  );
});
beforeEach(() => void vi.spyOn(process.stdout, "write").mockReturnValue(true));
afterAll(() => rmSync(folder, { recursive: true }));

const LISTENED: [NodeJS.EventEmitter, string][] = [
  ...["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"].map((name): [NodeJS.EventEmitter, string] => [process, name]),
  [process.stdout, "error"],
];

/** The pixels of each file that one call makes. */
async function sample(family: string, batch: number, more: string): Promise<Map<string, string>> {
  const { model, lora } = worlds.get(family) as TinyWorld;
  const out = join(folder, String(calls++));
  await spo([
    ...["sample", "--model", model, "--prompts", prompts, "--output", out, "--batch", `${batch}`],
    ...words(`--steps 4 --guidance-scale 5 --threads 1 --quiet ${more.replace("LORA", lora)}`),
  ]);
  return pixelsIn(out);
}

async function spo(args: readonly string[]): Promise<void> {
  const before = LISTENED.map(([emitter, name]) => emitter.listeners(name));
  await run(["node", "spo", ...args]);
  expect(process.exitCode).toBeUndefined();
  // A command ends with its process, and so do its listeners.
  for (const [i, [emitter, name]] of LISTENED.entries())
    for (const listener of emitter.listeners(name))
      if (!before[i]?.includes(listener)) emitter.removeListener(name, listener as () => void);
}

async function pixelsIn(out: string): Promise<Map<string, string>> {
  const pixels = new Map<string, string>();
  for (const name of readdirSync(out).filter((each) => each.endsWith(".png")))
    pixels.set(name, (await sharp(join(out, name)).raw().toBuffer()).toString("base64"));
  return pixels;
}

const WAYS = {
  "the checkpoint's sampler, two images a prompt": "--count 2",
  "DDIM with noise": "--sampler ddim --eta 1",
  Euler: "--sampler euler",
  "ancestral Euler": "--sampler euler-ancestral",
  "DPM-Solver++": "--sampler dpmpp-2m",
  "SDE-DPM-Solver++": "--sampler dpmpp-2m-sde",
  PNDM: "--sampler pndm",
  LCM: "--sampler lcm --steps 4",
  "a LoRA": "--lora LORA:0.7",
  "a UNet in bfloat16": "--dtype bfloat16",
  "tiles of the VAE": "--vae-tiling on --width 32 --height 32",
  "two threads": "--threads 2 --count 2",
};

describe.each(["sd15", "sdxl"])("an image of %s", (family) => {
  test.each(Object.entries(WAYS))("is the same to the bit at any batch size, by %s", async (_, way) => {
    const found: Map<string, string>[] = [];
    for (const batch of SIZES) found.push(await sample(family, batch, way));
    const [alone, ...others] = found as [Map<string, string>];
    expect(alone.size).toBeGreaterThanOrEqual(12);
    expect(new Set(alone.values()).size).toBe(alone.size);
    for (const other of others) expect(other).toEqual(alone);
  });

  test("that is evaluated is the same to the bit at any batch size, and when a stopped evaluation goes on", async () => {
    const { model, spm, lora, prompts: texts } = worlds.get(family) as TinyWorld;
    const evaluate = (name: string, batch: number): Promise<void> =>
      spo([
        ...["eval", `${model},lora=${lora},name=one`, "--metrics", `spm:${spm}`, "--prompts", texts],
        ...["--output", join(folder, family, name), "--batch", `${batch}`],
        ...words("--steps 3 --eta 1 --seeds 0,1 --threads 1 --quiet"),
      ]);
    const images = (name: string): string => join(folder, family, name, "images", "one");
    await evaluate("alone", 1);
    await evaluate("together", 3);
    const alone = await pixelsIn(images("alone"));
    expect(alone.size).toBe(10);
    expect(await pixelsIn(images("together"))).toEqual(alone);
    for (const name of [...alone.keys()].filter((_, i) => i % 4 !== 1))
      rmSync(join(images("together"), name));
    await evaluate("together", 5);
    expect(await pixelsIn(images("together"))).toEqual(alone);
  });
});
