import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadImageReward, type Reward, type RgbImage } from "@spo/scorers";
import { liveTensors } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { loadReward } from "./load-reward.js";

const golden = fileURLToPath(new URL("../../../../tests/golden/small", import.meta.url));
const at = (name: string): string => join(golden, "rewards", name);
const folder = mkdtempSync(join(tmpdir(), "spo-rewards-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A copy to damage. */
function copy(name: string): string {
  let target = join(folder, name);
  for (let i = 1; existsSync(target); i++) target = join(folder, `${i}-${name}`);
  cpSync(at(name), target, { recursive: true });
  return target;
}

const stripes = (width: number, height: number): RgbImage => ({
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256),
  width,
  height,
});

const SPECS = {
  pickscore: `pickscore:${at("clip")}`,
  hps: `hps:${at("open-clip/tiny_hps.pt")},tokenizer=${at("clip")}`,
  aesthetic: `aesthetic:${at("aesthetic-head.pth")},clip=${at("clip")}`,
  spm: `spm:${join(golden, "tiny-spm")},tokenizer=${at("clip")}`,
};

describe("a scorer", () => {
  test.each(Object.entries(SPECS))(
    "%s gives an image the same score alone and among others, and leaves no tensor behind",
    async (name, spec) => {
      const before = liveTensors();
      const reward = await loadReward(spec);
      const loaded = liveTensors();
      expect(reward.name).toBe(name);
      const [a, b] = [stripes(40, 31), stripes(31, 50)];
      const together = await reward.score([a, b, a], ["a horse", "a photo", "a horse"]);
      const alone = [await reward.score([a], ["a horse"]), await reward.score([b], ["a photo"])].flat();
      for (const [i, score] of alone.entries()) expect(together[i]).toBeCloseTo(score, 5);
      expect(together[2]).toBe(together[0]);
      const [first, second] = (await (reward as Required<Reward>).features([a, b])) as [number[], number[]];
      expect(Math.hypot(...first)).toBeCloseTo(1, 5);
      expect(first).not.toEqual(second);
      expect(liveTensors()).toBe(loaded);
      reward.dispose?.();
      expect(liveTensors()).toBe(before);
    },
  );

  test("takes CLIP's words from the folder named, its own or the caller's, and says so where there are none", async () => {
    const bare = copy("clip");
    rmSync(join(bare, "vocab.json"));
    await expect(loadReward(`clip:${bare}`)).rejects.toThrow("has no tokenizer");
    const named = await loadReward(`clip:${bare},tokenizer=${at("clip")}`);
    const own = await loadReward(`clip:${at("clip")}`);
    const image = stripes(24, 24);
    expect(named.score([image], ["a horse"])).toEqual(own.score([image], ["a horse"]));
  });
});

describe("a scorer is refused", () => {
  test.each([
    ["where its folder is not there", `pickscore:${join(folder, "nothing")}`, "does not exist"],
    [
      "where it is a text encoder alone",
      `pickscore:${join(golden, "tiny-sd15", "text_encoder")}`,
      'a model of the type "clip_text_model", not to a CLIP with both towers',
    ],
    [
      "where a preference model stands for CLIP",
      `clip:${join(golden, "tiny-spm")}`,
      "is a step-aware preference model",
    ],
    [
      "where CLIP stands for a preference model",
      `spm:${at("clip")}`,
      "is a plain CLIP, not a step-aware preference model",
    ],
    ["where CLIP stands for ImageReward", `imagereward:${at("clip/model.safetensors")}`, "is no ImageReward"],
    [
      "where a UNet stands for HPS",
      `hps:${join(golden, "tiny-sd15/unet/diffusion_pytorch_model.safetensors")}`,
      "both towers",
    ],
    [
      "where the aesthetic head has no CLIP",
      `aesthetic:${at("aesthetic-head.pth")}`,
      "there is no CLIP beside it",
    ],
    [
      "where the aesthetic head is none",
      `aesthetic:${at("image-reward/ImageReward.pt")},clip=${at("clip")}`,
      "holds no head of scores: it has no layers.0.weight",
    ],
    [
      "where an option names nothing",
      `clip:${at("clip")},tokenizer=${join(folder, "nothing")}`,
      join("nothing", "vocab.json"),
    ],
  ])("%s", async (_, spec, message) => {
    await expect(loadReward(spec)).rejects.toThrow(message);
    await expect(loadReward(spec)).rejects.toMatchObject({ name: "UserError" });
  });

  test("where its file is cut short, with the file's name", async () => {
    const clip = copy("clip");
    truncateSync(join(clip, "model.safetensors"), 5000);
    await expect(loadReward(`clip:${clip}`)).rejects.toThrow(join(clip, "model.safetensors"));
    const blip = copy("image-reward");
    truncateSync(join(blip, "ImageReward.pt"), 5000);
    await expect(loadReward(`imagereward:${blip}`)).rejects.toThrow("not a whole file of torch.save");
  });

  test("where ImageReward has no vocabulary, or another one than BERT's", () => {
    const blip = copy("image-reward");
    writeFileSync(join(blip, "vocab.txt"), "[PAD]\n[UNK]\na\n");
    const load = () => loadImageReward(blip, undefined, { visionHeads: 3 });
    expect(load).toThrow("The vocabulary has no [CLS], [SEP], [MASK].");
    rmSync(join(blip, "vocab.txt"));
    expect(load).toThrow("has no vocab.txt beside it");
  });

  test("where ImageReward's tower is of a width that no published one has", async () => {
    await expect(loadReward(`imagereward:${at("image-reward")}`)).rejects.toThrow(
      "how many heads a tower of width 24 has",
    );
  });
});

test.each(["clip", "spm"])(
  "%s with a tokenizer of more words than it reads is refused for such a word, and for such marks",
  async (name) => {
    const words = copy("clip");
    const path = join(words, "vocab.json");
    const vocabulary = JSON.parse(readFileSync(path, "utf8")) as Record<string, number>;
    const spec =
      name === "clip"
        ? `clip:${at("clip")},tokenizer=${words}`
        : `spm:${join(golden, "tiny-spm")},tokenizer=${words}`;
    writeFileSync(path, JSON.stringify({ ...vocabulary, "q</w>": 100_000 }));
    const reward = await loadReward(spec);
    expect(await reward.score([stripes(8, 8)], ["a"])).toHaveLength(1);
    await expect((async () => reward.score([stripes(8, 8)], ["q"]))()).rejects.toThrow(
      /a word with the id 100000/,
    );
    reward.dispose?.();
    writeFileSync(path, JSON.stringify({ ...vocabulary, "<|endoftext|>": 100_000 }));
    await expect(loadReward(spec)).rejects.toThrow(/marks a text with the id 100000/);
  },
);
