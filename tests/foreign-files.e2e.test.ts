// Checkpoints and LoRAs as other tools write them, by the pictures that they give. The case files are kept outside of the repository.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LoraStack, loadTextToImage, sampleLatents, saveSingleFile } from "@spo/diffusion";
import {
  Generator,
  noGrad,
  onWarning,
  openSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";

const path = (place: string): string => fileURLToPath(new URL(place, import.meta.url));
const golden = (name: string): string => path(`golden/small/${name}`);
const cases = path("../../shared/cases");
const fixtures = path("../../shared/fixtures");
const folder = mkdtempSync(join(tmpdir(), "foreign-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Drawn {
  pixels: Uint8Array;
  warnings: string[];
}

/** "red apple" in 4 steps from seed 7, as `spo sample` draws it. */
function draw(model: string, { configs, lora }: { configs?: string; lora?: string } = {}): Drawn {
  const warnings: string[] = [];
  const stop = onWarning((message) => warnings.push(message));
  try {
    const pipe = loadTextToImage(model, { configs });
    if (lora) new LoraStack(pipe.models, [{ path: lora }]).fuse();
    const pixels = noGrad(() =>
      scope(() => {
        const latents = sampleLatents(pipe, {
          prompts: ["red apple"],
          generators: [new Generator(7)],
          steps: 4,
        });
        const image = pipe.vae.decodeLatents(latents).div(2).add(0.5).clamp(0, 1).mul(255).round();
        return image.to({ dtype: "uint8" }).permute([0, 2, 3, 1]).contiguous().toTypedArray() as Uint8Array;
      }),
    );
    for (const model of Object.values(pipe.models)) model.dispose();
    return { pixels, warnings };
  } finally {
    stop();
  }
}

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] as number))), 0);
};

/** A copy of a file of weights with its entries changed. */
function changed(
  source: string,
  change: (name: string, x: Tensor) => [string, Tensor][],
  more: Record<string, Tensor> = {},
): string {
  const target = join(folder, `${Math.random()}.safetensors`);
  scope(() => {
    using file = openSafetensors(source);
    const entries = [...file.tensors()].flatMap(([name, x]) => change(name, x));
    writeSafetensors(target, new Map([...entries, ...Object.entries(more)]));
  });
  return target;
}

const asItIs = (name: string, x: Tensor): [string, Tensor][] => [[name, x]];

describe("a checkpoint in one file", () => {
  const source = golden("single-file-sd15.safetensors");
  const configs = golden("tiny-sd15");
  const plain = draw(source, { configs });

  test("with an entry of another tool gives the same picture and one warning", () => {
    const extra = { "cond_stage_model.transformer.text_projection.weight": zeros([4, 4]) };
    const { pixels, warnings } = draw(changed(source, asItIs, extra), { configs });
    expect(furthest(pixels, plain.pixels)).toBe(0);
    expect(warnings.filter((message) => message.includes("not used"))).toEqual([
      expect.stringContaining("text_projection"),
    ]);
  });

  test("with the VAE's attention as diffusers names it gives the same picture", () => {
    const names: Record<string, string> = { q: "to_q", k: "to_k", v: "to_v", proj_out: "to_out.0" };
    const file = changed(source, (name, x) => {
      const [, before, own, kind] = /^(.*attn_1\.)(q|k|v|proj_out)\.(\w+)$/.exec(name) ?? [];
      return [[own ? `${before}${names[own]}.${kind}` : name, own && x.ndim === 4 ? x.flatten(1) : x]];
    });
    expect(furthest(draw(file, { configs }).pixels, plain.pixels)).toBe(0);
  });

  test("of eight bits a number gives the picture of the same numbers in float32", () => {
    // 1 + k/8 times a power of two, which float8_e4m3fn has exactly: written by hand, since nothing here writes float8.
    const inName = (name: string): boolean =>
      name.startsWith("model.diffusion_model.") && name.endsWith("norm1.weight");
    const file = float8Copy(source, inName);
    const whole = changed(source, (name, x) => [[name, inName(name) ? x.mul(0).add(1.25) : x]]);
    const [eight, wide] = [draw(file, { configs }).pixels, draw(whole, { configs }).pixels];
    expect(furthest(eight, wide)).toBe(0);
    expect(furthest(eight, plain.pixels)).toBeGreaterThan(0);
  });

  test("keeps ztsnr from file to file", () => {
    const marked = changed(source, asItIs, { ztsnr: zeros([0]), v_pred: zeros([0]) });
    const pipe = loadTextToImage(marked, { configs });
    const out = join(folder, "again.safetensors");
    saveSingleFile(out, pipe.models, { scheduler: pipe.schedule.config });
    using file = openSafetensors(out);
    expect([file.has("ztsnr"), file.has("v_pred")]).toEqual([true, true]);
  });
});

/** A copy whose weights of these names are all 1.25, in float8_e4m3fn: the pattern 0 0111 010. */
function float8Copy(source: string, isChosen: (name: string) => boolean): string {
  const bytes = readFileSync(source);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const data = bytes.subarray(8 + length);
  const parts: Uint8Array[] = [];
  let at = 0;
  const entries = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, { dtype, shape, data_offsets }]) => {
      const own = data.subarray(...data_offsets);
      const count = shape.reduce((a, b) => a * b, 1);
      const stored = isChosen(name) ? new Uint8Array(count).fill(0b00111010) : own;
      parts.push(stored);
      const entry = {
        dtype: isChosen(name) ? "F8_E4M3" : dtype,
        shape,
        data_offsets: [at, at + stored.length],
      };
      at += stored.length;
      return [name, entry] as const;
    });
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const target = join(folder, "float8.safetensors");
  writeFileSync(target, Buffer.concat([size, text, ...parts]));
  return target;
}

const here = existsSync(cases) && existsSync(fixtures);
test.skipIf(here)("the case files: skipped, ../shared/cases is not there", () => {});

describe.runIf(here)("the case", () => {
  const model = join(fixtures, "tiny-sd15");
  const pixelsOf = async (image: string): Promise<Uint8Array> =>
    sharp(join(cases, image)).removeAlpha().raw().toBuffer();

  test.each([
    ["peft-regex-alpha-pattern", ".", "expected-peft.png"],
    ["lora-sd15-te1-prefix", "a3-sd15-te1.safetensors", "expected-diffusers.png"],
    ["lora-dotted-original-names", "d1-comfy-dotted-sd15.safetensors", "expected-diffusers.png"],
    ["lora-dotted-original-names", "d3-comfy-loraAB-sd15.safetensors", "expected-diffusers.png"],
  ])("%s: %s gives the reference's picture", async (name, file, expected) => {
    const { pixels } = draw(model, { lora: join(cases, name, file) });
    expect(furthest(pixels, await pixelsOf(join(name, expected)))).toBeLessThanOrEqual(1);
  });

  test("lora-bundled-embedding: the LoRA is applied, and a warning names the embedding", () => {
    const file = join(cases, "lora-bundled-embedding", "a15-bundle.safetensors");
    const bare = changed(file, (name, x) => (name.startsWith("bundle_emb.") ? [] : [[name, x]]));
    const bundled = draw(model, { lora: file });
    expect(furthest(bundled.pixels, draw(model, { lora: bare }).pixels)).toBe(0);
    expect(bundled.warnings).toEqual([expect.stringContaining("embedding mytoken")]);
  });

  test("a LoRA of the other family is refused in one sentence", () => {
    copyFileSync(join(fixtures, "lora-sd15-kohya.safetensors"), join(folder, "sd15.safetensors"));
    expect(() => draw(join(fixtures, "tiny-sdxl"), { lora: join(folder, "sd15.safetensors") })).toThrow(
      /^\S+sd15\.safetensors is a LoRA for .*; this one is .*\.$/,
    );
  });
});
