// The names that the documents give are found on a hub, and in the cache from then on.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseHubId } from "@spo/hub/id";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { resolveModels } from "../packages/cli/src/options/resolve-config.js";
import { FakeHub } from "../packages/hub/src/fake-hub.fixture.js";
import { SCHEMAS } from "../packages/spo/src/schemas.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const PIPELINE = {
  "model_index.json": "{}",
  "unet/config.json": "{}",
  "unet/diffusion_pytorch_model.safetensors": "u",
};
const CLIP = { "config.json": "{}", "model.safetensors": "m" };

/** What stands on the hub under the names in the documents, its contents aside. */
const PUBLISHED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "stable-diffusion-v1-5/stable-diffusion-v1-5": PIPELINE,
  "stabilityai/stable-diffusion-xl-base-1.0": PIPELINE,
  "SPO-Diffusion-Models/Step-Aware_Preference_Models": {
    "sd-v1-5_step-aware_preference_model.bin": "1.5",
    "sdxl_step-aware_preference_model.bin": "xl",
  },
  "yuvalkirstain/PickScore_v1": CLIP,
  "openai/clip-vit-large-patch14": CLIP,
  "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": CLIP,
  "xswu/HPSv2": { "HPS_v2.1_compressed.pt": "hps" },
  "THUDM/ImageReward": { "ImageReward.pt": "reward" },
  "google-bert/bert-base-uncased": { "vocab.txt": "words" },
};

let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  hub = await FakeHub.start();
  cache = mkdtempSync(join(tmpdir(), "spo-names-"));
  for (const [repo, files] of Object.entries(PUBLISHED))
    hub.commit(
      repo,
      Object.fromEntries(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)])),
    );
  for (const [name, value] of Object.entries({
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_CACHE: cache,
    HF_HUB_OFFLINE: "0",
    HF_TOKEN: "",
    HF_HUB_DISABLE_IMPLICIT_TOKEN: "1",
    NO_PROXY: "*",
    no_proxy: "*",
  }))
    vi.stubEnv(name, value);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub[Symbol.asyncDispose]();
  rmSync(cache, { recursive: true });
});

const SPM = "SPO-Diffusion-Models/Step-Aware_Preference_Models";

describe("a training's config", () => {
  test.each([
    ["stable-diffusion-v1-5/stable-diffusion-v1-5", `${SPM}/sd-v1-5_step-aware_preference_model.bin`, "1.5"],
    ["stabilityai/stable-diffusion-xl-base-1.0", `${SPM}/sdxl_step-aware_preference_model.bin`, "xl"],
  ])("finds %s and %s by name, and needs the hub no more", async (model, spm, contents) => {
    const config = { model, spm, judge: "pickscore:yuvalkirstain/PickScore_v1" };
    const places = await resolveModels(SCHEMAS["train spo"], config, { quiet: true });
    expect(existsSync(join(places.model, "unet", "config.json"))).toBe(true);
    expect(readFileSync(places.spm, "utf8")).toBe(contents);
    expect(places.judge).toMatch(/^pickscore:/);
    expect(readFileSync(join(places.judge.slice("pickscore:".length), "model.safetensors"), "utf8")).toBe(
      "m",
    );
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const asked = hub.requests.length;
    expect(await resolveModels(SCHEMAS["train spo"], config, { quiet: true })).toEqual(places);
    expect(hub.requests.length).toBe(asked);
  });

  test("keeps judges that are no names of a hub", async () => {
    for (const judge of ["spm", "random", "./my-judge.ts", "some/folder"])
      expect(await resolveModels(SCHEMAS["train spo"], { judge }, { quiet: true })).toEqual({ judge });
  });

  test("fetches the configs of a model that is one file without its weights", async () => {
    const config = { model: "./model.safetensors", configs: "stable-diffusion-v1-5/stable-diffusion-v1-5" };
    const { configs } = await resolveModels(SCHEMAS["train dpo"], config, { quiet: true });
    expect(existsSync(join(configs, "unet", "config.json"))).toBe(true);
    expect(existsSync(join(configs, "unet", "diffusion_pytorch_model.safetensors"))).toBe(false);
  });

  test("finds the scorer that labels anew, and what the preference model of a comparison starts from", async () => {
    const relabel = { by: "pickscore:yuvalkirstain/PickScore_v1", threshold: 0.1 };
    const spm = await resolveModels(SCHEMAS["train spm"], { relabel }, { quiet: true });
    expect(spm.relabel.threshold).toBe(0.1);
    const folder = spm.relabel.by.slice("pickscore:".length);
    expect(readFileSync(join(folder, "model.safetensors"), "utf8")).toBe("m");
    const compared = { spm: { init: "yuvalkirstain/PickScore_v1", steps: 3 }, judge: relabel.by };
    expect(await resolveModels(SCHEMAS.compare, compared, { quiet: true })).toEqual({
      spm: { init: folder, steps: 3 },
      judge: `pickscore:${folder}`,
    });
  });

  test("finds the validator of a comparison, with its tokenizer", async () => {
    const validator =
      "imagereward:THUDM/ImageReward/ImageReward.pt,tokenizer=google-bert/bert-base-uncased/vocab.txt";
    const found = (await resolveModels(SCHEMAS.compare, { validator }, { quiet: true })).validator;
    const [, path, words] = /^imagereward:(.*),tokenizer=(.*)$/.exec(found) ?? [];
    expect([path, words].map((each) => readFileSync(each as string, "utf8"))).toEqual(["reward", "words"]);
  });
});

test("every name of a hub that a document's command calls is one of those that are looked for here", () => {
  const names = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)]
    .filter((path) => path.endsWith(".md"))
    .flatMap((path) => [...readFileSync(join(root, path), "utf8").matchAll(/^```(?:sh|)\n([\s\S]*?)^```$/gm)])
    .flatMap(([, block]) => [
      ...(block as string).matchAll(/(?:--(?:model|spm|init) |[a-z]+:|=)([\w-]+\/[\w.-]+(?:\/[\w./-]+)?)/g),
    ])
    .map(([, name]) => name as string)
    .filter((name) => !/^(org|examples|runs|my|samples|pairs|pickapic|evaluation)\//.test(name));
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) {
    const { repo, file } = parseHubId(name) ?? {};
    expect(Object.keys(PUBLISHED), name).toContain(repo);
    if (file) expect(Object.keys(PUBLISHED[repo as string] as object), name).toContain(file);
  }
});
