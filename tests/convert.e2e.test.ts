import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, readSafetensors } from "@spo/torch";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, type Ended } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-convert-"));
  world = await makeTinyWorld(at("world"));
  // A scheduler of its own, so that it shows when it gets lost.
  const change = (path: string, values: object): void =>
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...values }));
  const name = "EulerDiscreteScheduler";
  change(join(world.model, "scheduler", "scheduler_config.json"), { _class_name: name });
  change(join(world.model, "model_index.json"), { scheduler: ["diffusers", name] });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function convert(from: string, out: string, ...more: string[]): Promise<string> {
  const ended = await cli(["convert", from, "--output", at(out), "--quiet", ...more]);
  expect(ended).toMatchObject({ code: 0, stdout: `${at(out)}\n` });
  return at(out);
}

/** The pixels that a model gives for one prompt and seed. */
async function picture(model: string, ...more: string[]): Promise<Buffer> {
  const out = mkdtempSync(at("images-"));
  const ended = await cli([
    "sample",
    "red apple",
    "--model",
    model,
    "--steps",
    "3",
    "--output",
    out,
    ...more,
  ]);
  expect(ended.code, ended.stderr).toBe(0);
  return sharp(join(out, "00000-0.png")).raw().toBuffer();
}

const weights = (path: string): [string, string, unknown][] =>
  [...readSafetensors(path)]
    .map(([name, x]): [string, string, unknown] => [name, x.dtype, x.toTypedArray()])
    .sort(([a], [b]) => (a < b ? -1 : 1));

const PARTS = [
  "unet/diffusion_pytorch_model.safetensors",
  "vae/diffusion_pytorch_model.safetensors",
  "text_encoder/model.safetensors",
];

describe("a model", () => {
  test("as one file and as a folder again has its first bits, scheduler and pictures", async () => {
    const file = await convert(world.model, "model.safetensors");
    const again = await convert(file, "again", "--configs", world.model);
    for (const part of PARTS) expect(weights(join(again, part))).toEqual(weights(join(world.model, part)));
    const index = JSON.parse(readFileSync(join(again, "model_index.json"), "utf8"));
    expect(index.scheduler).toEqual(["diffusers", "EulerDiscreteScheduler"]);
    const first = await picture(world.model);
    expect(await picture(file, "--configs", world.model)).toEqual(first);
    expect(await picture(again)).toEqual(first);
  });

  test("with an adapter merged draws what it draws with the adapter", async () => {
    const merged = await convert(world.model, "merged", "--lora", `${world.lora}:0.7`);
    const drawn = await picture(merged);
    expect(drawn).toEqual(await picture(world.model, "--lora", `${world.lora}:0.7`));
    expect(drawn).not.toEqual(await picture(world.model));
  });

  test("in half precision is halves of the same names, under the variant's file names", async () => {
    const half = await convert(world.model, "half", "--dtype", "float16", "--variant", "fp16");
    expect(readdirSync(join(half, "unet")).sort()).toEqual([
      "config.json",
      "diffusion_pytorch_model.fp16.safetensors",
    ]);
    const halves = weights(join(half, "unet", "diffusion_pytorch_model.fp16.safetensors"));
    const whole = weights(join(world.model, PARTS[0] as string));
    expect(halves.map(([name, dtype]) => [name, dtype])).toEqual(whole.map(([name]) => [name, "float16"]));
    // As it is, it stays so.
    const again = await convert(half, "half.safetensors");
    expect(new Set(weights(again).map(([, dtype]) => dtype))).toEqual(new Set(["float16"]));
  });
});

describe("a LoRA", () => {
  test("through all layouts and back has its first bits", async () => {
    const of = ["--configs", world.model];
    const peft = await convert(world.lora, "peft.safetensors", ...of, "--to", "peft");
    mkdirSync(at("trained"));
    const diffusers = await convert(
      peft,
      "trained/pytorch_lora_weights.safetensors",
      ...of,
      "--to",
      "diffusers",
    );
    expect(weights(diffusers).every(([name]) => /^unet\..+\.lora\.(up|down)\.weight$/.test(name))).toBe(true);
    // A folder in which a trainer left it will do.
    const kohya = await convert(at("trained"), "kohya.safetensors", ...of);
    expect(weights(kohya)).toEqual(weights(world.lora));
    expect(await picture(world.model, "--lora", at("trained"))).toEqual(
      await picture(world.model, "--lora", world.lora),
    );
  });

  test("says what the user says of it, and keeps what its file said", async () => {
    const more = ["--configs", world.model];
    const one = await convert(world.lora, "one.safetensors", ...more, "--title", "Apples", "--author", "me");
    const two = await convert(one, "two.safetensors", ...more, "--title", "Pears", "--dtype", "float16");
    using file = openSafetensors(two);
    expect(file.metadata).toMatchObject({
      "modelspec.title": "Pears",
      "modelspec.author": "me",
      "modelspec.architecture": "stable-diffusion-v1/lora",
      ss_network_dim: "2",
    });
    using before = openSafetensors(one);
    expect(file.metadata["modelspec.hash_sha256"]).not.toBe(before.metadata["modelspec.hash_sha256"]);
  });
});

describe("ended by a signal while it writes", () => {
  /** Has the process send itself a signal when the first file is whole but for its name. */
  const preload = (signal: NodeJS.Signals): string => {
    const path = at(`${signal}.mjs`);
    const code = `
      import fs from "node:fs";
      import { syncBuiltinESMExports } from "node:module";
      fs.fsyncSync = () => process.kill(process.pid, "${signal}");
      syncBuiltinESMExports();`;
    writeFileSync(path, code);
    return `--import=${path}`;
  };

  test.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)(
    "%s: nothing is left, and it says so",
    async (signal) => {
      const place = mkdtempSync(at("stopped-"));
      for (const out of ["model.safetensors", "folder"]) {
        const args = ["convert", world.model, "--output", join(place, out), "--quiet"];
        const ended = await cli(args, { env: { NODE_OPTIONS: preload(signal) } });
        expect(ended).toMatchObject({ code: null, signal });
        expect(ended.stderr).toContain("nothing half-written is left");
        expect(readdirSync(place)).toEqual([]);
      }
    },
  );
});

describe("what cannot be converted", () => {
  const refused = async (code: number, ...args: string[]): Promise<Ended> => {
    const before = readdirSync(folder).sort();
    const ended = await cli(["convert", ...args]);
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(readdirSync(folder).sort()).toEqual(before); // nothing half-written
    return ended;
  };

  test("is told so, and leaves nothing behind", async () => {
    const out = ["--output", at("never")];
    expect((await refused(2, world.model, "--output", world.lora)).stderr).toContain("is there already");
    expect((await refused(2, world.model, "--to", "kohya", ...out)).stderr).toContain("is a model");
    expect((await refused(2, world.lora, "--to", "single-file", ...out)).stderr).toContain("is a LoRA");
    expect((await refused(2, world.lora, "--lora", world.lora, ...out)).stderr).toContain("is a LoRA itself");
    expect((await refused(4, at("nowhere"), ...out)).stderr).toContain(at("nowhere"));
    expect((await refused(4, world.lora, ...out)).stderr).toContain("for a model whose text is 16 wide");
    writeFileSync(at("notes.txt"), "no weights at all");
    expect((await refused(4, at("notes.txt"), ...out)).stderr).toContain(at("notes.txt"));
  });

  test("for want of space on the disk is told before a byte is written (skipped where a tmpfs cannot be mounted)", async ({
    skip,
  }) => {
    const mount = at("small-disk");
    mkdirSync(mount);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", mount]).status !== 0) skip();
    try {
      for (const out of ["model", "model.safetensors"]) {
        const ended = await cli(["convert", world.model, "--output", join(mount, out)]);
        expect(ended).toMatchObject({ code: 5, stdout: "" });
        expect(ended.stderr).toMatch(
          /The disk is full: .* needs [\d.]+ (bytes|[kM]B), and [\d.]+ (bytes|[kM]B) are free/,
        );
        expect(readdirSync(mount)).toEqual([]);
      }
    } finally {
      spawnSync("umount", [mount]);
    }
    expect(existsSync(mount)).toBe(true);
  });
});
