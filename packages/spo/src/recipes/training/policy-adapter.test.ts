import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, readLora, type TextToImage } from "@spo/diffusion";
import { Generator, noGrad, scope } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeTinyWorld } from "../tiny-world.fixture.js";
import { PolicyAdapter } from "./policy-adapter.js";

let folder: string;
let model: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-adapter-"));
  ({ model } = await makeTinyWorld(join(folder, "world")));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const contextOf = (pipe: TextToImage): number[] =>
  noGrad(() =>
    scope(() => pipe.encode(["red apple"], { size: [16, 16] }).conditional.context?.toNumbers() as number[]),
  );

test("text encoders learn with the denoiser, the base's encodings stay, and one file has both", () => {
  const pipe = loadTextToImage(model);
  const before = contextOf(pipe);
  const settings = { rank: 2, alpha: 1, targets: ["to_q"], textEncoders: true };
  const adapter = new PolicyAdapter(pipe, settings, () => new Generator(1));
  expect(contextOf(pipe)).toEqual(before);
  const named = adapter.namedParameters();
  expect([...named.keys()].some((name) => /^text_encoder\..*out_proj\.lora\.up\.weight$/.test(name))).toBe(
    true,
  );
  noGrad(() => {
    for (const [name, value] of named) if (name.endsWith("up.weight")) value.fill_(0.1);
  });
  expect(contextOf(pipe)).not.toEqual(before);
  expect(adapter.withBaseTexts(() => contextOf(pipe))).toEqual(before);
  expect(contextOf(pipe)).not.toEqual(before);

  const path = join(folder, "both.safetensors");
  adapter.save(path, { layout: "kohya" });
  const read = readLora(path, loadTextToImage(model).models).adapter;
  expect(read.size).toBe(named.size / 2);
  expect([...read.values()].every(({ alpha, down }) => alpha === 1 && down.shape[0] === 2)).toBe(true);
});

test("without text encoders the denoiser alone has layers", () => {
  const settings = { rank: 2, alpha: null, targets: null, textEncoders: false };
  const adapter = new PolicyAdapter(loadTextToImage(model), settings, () => new Generator(1));
  expect([...adapter.namedParameters().keys()].some((name) => name.startsWith("text_encoder"))).toBe(false);
});
