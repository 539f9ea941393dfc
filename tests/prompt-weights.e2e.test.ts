// Weights and LoRAs in a prompt, by the command line.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, expect, test } from "vitest";
import { cli, type Ended } from "./cli.js";

const golden = (name: string): string => fileURLToPath(new URL(`golden/small/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "prompt-weights-"));
afterAll(() => rmSync(folder, { recursive: true }));
const lora = join(folder, "loras", "deep", "watercolour.safetensors");
mkdirSync(join(folder, "loras", "deep"), { recursive: true });
copyFileSync(golden("lora-sd15-kohya.safetensors"), lora);

interface Drawn {
  ended: Ended;
  images: { file: string; prompt: string }[];
}

async function sample(prompts: readonly string[], ...more: string[]): Promise<Drawn> {
  const out = mkdtempSync(join(folder, "out-"));
  const ended = await cli([
    "sample",
    ...prompts,
    "--model",
    golden("tiny-sd15"),
    "--steps",
    "2",
    "--output",
    out,
    "--json",
    "-q",
    ...more,
  ]);
  return { ended, images: ended.code === 0 ? JSON.parse(ended.stdout).images : [] };
}
const pixels = (image: { file: string } | undefined): Promise<Buffer> => sharp(image?.file).raw().toBuffer();

test("a prompt's LoRA and weights are those of --lora and the words alone, and the file keeps what was written", async () => {
  const prompt = "a (red:1.4) apple <lora:watercolour:0.7>";
  const tagged = await sample(
    [prompt, "a (red:1.4) apple", "a red apple"],
    "--lora-dir",
    join(folder, "loras"),
  );
  expect(tagged.ended.code, tagged.ended.stderr).toBe(0);
  const given = await sample(["a (red:1.4) apple", "a red apple"], "--lora", `${lora}:0.7`);
  const plain = await sample(["a red apple", "a (red:1.4) apple"], "--prompt-syntax", "plain");
  const [withLora, weighted, bare] = await Promise.all(tagged.images.map(pixels));
  const [sameLora, loraAlone] = await Promise.all(given.images.map(pixels));
  const [plainBare, plainMarks] = await Promise.all(plain.images.map(pixels));
  expect(withLora).toEqual(sameLora); // one after the other: the models are put back between
  expect(bare).toEqual(plainBare);
  for (const other of [weighted, loraAlone, bare]) expect(withLora).not.toEqual(other);
  expect(weighted).not.toEqual(bare);
  expect(weighted).not.toEqual(plainMarks);
  const text = readFileSync(tagged.images[0]?.file as string).toString("latin1");
  expect(text).toContain(`${prompt}\nSteps: 2`);
  expect(tagged.images[0]?.prompt).toBe(prompt);
});

test("a LoRA that is not there is an error that says where it was looked for; other features are warned of", async () => {
  const lost = await sample(["<lora:oil:1> apple"], "--lora-dir", join(folder, "loras"));
  expect(lost.ended.code).toBe(4);
  expect(lost.ended.stdout + lost.ended.stderr).toMatch(/no oil\.safetensors in .*loras.*deep\/watercolour/s);
  const nowhere = await sample(["<lora:oil:1> apple"]);
  expect(nowhere.ended.code).toBe(2);
  const features = await sample(["[red:blue:3] apple"], "--negative", "bad <lora:watercolour:1>");
  expect(features.ended.code, features.ended.stderr).toBe(0);
  expect(features.ended.stderr).toMatch(/warning: prompt scheduling/);
  expect(features.ended.stderr).toMatch(/warning: a LoRA in a negative prompt is not applied/);
});
