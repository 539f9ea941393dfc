import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkCheckpoint, listCheckpoints, readRun } from "@spo/records";
import { readSafetensors, tensor, writeSafetensors } from "@spo/torch";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, startCli, words } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-bad-input-"));
  world = await makeTinyWorld(at("world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const spo = (run: string, ...more: string[]): string[] => [
  ...words(
    "train spo --rounds 3 --prompts-per-round 2 --steps 3 --first-branch 1 --threshold 0.01 --save-every 1",
  ),
  ...["--model", world.model, "--spm", world.spm, "--prompts", world.prompts, "--run", at(run)],
  ...more,
];
const spm = (run: string, ...more: string[]): string[] => [
  ...words("train spm --steps 6 --batch 2 --eval-every 100 --save-every 1"),
  ...["--model", world.model, "--init", world.spm, "--pairs", world.pairs, "--run", at(run)],
  ...more,
];

/** A copy of the model whose parts a test may damage. */
function copyOfModel(name: string): string {
  cpSync(world.model, at(name), { recursive: true });
  return at(name);
}

describe("wrong use", () => {
  test.each([
    ["a command", "quickstrat", "did you mean quickstart?"],
    ["an option", "verify --jsn .", "did you mean --json?"],
    ["a recipe", "train spmm", "did you mean spm?"],
  ])("of %s exits with 2 and says what was meant", async (_, line, meant) => {
    const ended = await cli(words(line));
    expect(ended).toMatchObject({ code: 2, stdout: "" });
    expect(ended.stderr).toContain(meant);
  });
});

describe("a bad config", () => {
  test("exits with 3, lists all faults, says what was meant, and makes no folder", async () => {
    const ended = await cli(spo("unknown", "--treshold", "0.5", "--optimizer.lrr", "1"));
    expect(ended).toMatchObject({ code: 3, stdout: "" });
    expect(ended.stderr).toContain("--treshold is no setting; did you mean --threshold?");
    expect(ended.stderr).toContain("did you mean --optimizer.lr?");
    expect(existsSync(at("unknown"))).toBe(false);
  });

  test("is told as one JSON object with --json", async () => {
    const ended = await cli(spo("unknown", "--candidates", "1", "--json"));
    expect(ended.code).toBe(3);
    const fault = JSON.parse(ended.stdout);
    expect(fault).toMatchObject({ schema: "spo.error/1", code: "CONFIG", hint: expect.any(String) });
    expect(fault.message).toContain("candidates");
  });

  test("an output folder of another run exits with 3, names what differs, and leaves the run alone", async () => {
    expect((await cli(spo("first"))).code).toBe(0);
    const before = readFileSync(join(at("first"), "events.jsonl"), "utf8");
    const ended = await cli(spo("first", "--beta", "3"));
    expect(ended.code).toBe(3);
    expect(ended.stderr).toMatch(/beta: there 10, now 3/);
    expect((await cli(spm("first"))).stderr).toContain("a run of another kind");
    expect(readFileSync(join(at("first"), "events.jsonl"), "utf8")).toBe(before);
  });
});

describe("a bad model exits with 4", () => {
  test("when its folder is missing, and the run's folder does not stand in the way of the next try", async () => {
    const ended = await cli(spo("mistyped", "--model", at("no-model")));
    expect(ended).toMatchObject({ code: 4, stdout: "" });
    expect(ended.stderr).toContain(at("no-model"));
    expect(existsSync(at("mistyped"))).toBe(false);
  });

  test("when a weight file is cut off, naming the file", async () => {
    const model = copyOfModel("cut");
    const file = join(model, "unet", "diffusion_pytorch_model.safetensors");
    truncateSync(file, 50_000);
    const ended = await cli(["sample", "a red apple", "--model", model, "--output", at("none")]);
    expect(ended).toMatchObject({ code: 4, stdout: "" });
    expect(ended.stderr).toContain(file);
    expect(existsSync(at("none"))).toBe(false);
  });

  test("when shapes do not fit, listing all of them", async () => {
    const model = copyOfModel("misfit");
    const path = join(model, "unet", "config.json");
    const config = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...config, cross_attention_dim: 24 }));
    const ended = await cli(["sample", "a red apple", "--model", model, "--output", at("none")]);
    expect(ended.code).toBe(4);
    const named = ended.stderr.match(/attn2\.to_[kv]\.weight/g) ?? [];
    expect(named.length).toBeGreaterThanOrEqual(8); // keys and values of all cross-attentions
  });

  test("when a part of it is no JSON", async () => {
    const model = copyOfModel("no-json");
    writeFileSync(join(model, "vae", "config.json"), "{");
    expect((await cli(spo("no-json-run", "--model", model))).code).toBe(4);
  });
});

describe("a config file", () => {
  test.each([
    ["with a comment", '{\n  // of mine\n  "rounds": 1\n}', "line 2, column 3: JSON has no comments"],
    [
      "with a comma too many",
      '{\n  "rounds": 1,\n}',
      "line 3, column 1: JSON has no comma after the last entry",
    ],
    ["that is empty", "", "it is empty"],
  ])("%s exits with 3 and names the place", async (_, text, told) => {
    writeFileSync(at("config.json"), text);
    const ended = await cli(["train", "spo", at("config.json"), "--run", at("never")]);
    expect(ended).toMatchObject({ code: 3, stdout: "" });
    expect(ended.stderr).toContain(`${at("config.json")} is not JSON: ${told}`);
    expect(existsSync(at("never"))).toBe(false);
  });
});

describe("spo sample says what, where and what to do, and writes nothing,", () => {
  const sample = (...args: string[]) =>
    cli(["sample", "a red apple", "--steps", "2", "--output", at("never"), ...args]);
  const unet = "unet/diffusion_pytorch_model.safetensors";
  /** Writes the header of a safetensors file anew. */
  function rewrite(path: string, change: (header: Record<string, Entry>) => object | string): void {
    const bytes = readFileSync(path);
    const end = 8 + Number(bytes.readBigUInt64LE(0));
    const changed = change(JSON.parse(bytes.subarray(8, end).toString()));
    const text = Buffer.from(typeof changed === "string" ? changed : JSON.stringify(changed));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(path, Buffer.concat([length, text, bytes.subarray(end)]));
  }
  interface Entry {
    dtype: string;
    shape: number[];
    data_offsets: [number, number];
  }

  test.each<[string, number, (model: string) => void, RegExp, RegExp]>([
    [
      "for weights that overlap",
      4,
      (model) =>
        rewrite(join(model, unet), (header) => {
          const [first, second] = Object.keys(header).filter((name) => name !== "__metadata__");
          return { ...header, [first as string]: header[second as string] };
        }),
      /a hole or an overlap/,
      /Copy or download it again/,
    ],
    [
      "for weights beyond the file",
      4,
      (model) =>
        rewrite(join(model, unet), (header) => ({
          ...header,
          "conv_in.bias": { dtype: "F32", shape: [2 ** 38], data_offsets: [0, 2 ** 40] },
        })),
      /not a whole safetensors file/,
      /Copy or download it again/,
    ],
    [
      "for a name that stands twice",
      4,
      (model) =>
        rewrite(join(model, unet), (header) => {
          const text = JSON.stringify(header);
          return `${text.slice(0, -1)},"conv_in.bias":${JSON.stringify(header["conv_in.bias"])}}`;
        }),
      /a name stands twice/,
      /Copy or download it again/,
    ],
    [
      "for a weight named __proto__",
      4,
      (model) =>
        rewrite(join(model, unet), (header) =>
          JSON.stringify(header).replace('"conv_in.bias"', '"__proto__"'),
        ),
      /__proto__ +in the file, not in the model/,
      /config\.json that came with it/,
    ],
    [
      "for a header of more than 100 MB",
      4,
      (model) => rewrite(join(model, unet), (header) => JSON.stringify(header) + " ".repeat(100_000_001)),
      /its header claims 100\d{6} bytes/,
      /Copy or download it again/,
    ],
    [
      "for a shard that is missing",
      4,
      (model) => {
        const index = join(model, "unet", "diffusion_pytorch_model.safetensors.index.json");
        writeFileSync(
          index,
          JSON.stringify({
            weight_map: { "conv_in.bias": "diffusion_pytorch_model-00001-of-00002.safetensors" },
          }),
        );
        rmSync(join(model, unet));
      },
      /00001-of-00002\.safetensors +this shard is missing/,
      /Copy or download the whole folder again/,
    ],
    [
      "for a scheduler that is not here",
      3,
      (model) => {
        const path = join(model, "model_index.json"); // which has the last word on the class
        const index = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
        writeFileSync(
          path,
          JSON.stringify({ ...index, scheduler: ["diffusers", "UniPCMultistepScheduler"] }),
        );
      },
      /UniPCMultistepScheduler, which is not supported/,
      /ddim, euler, euler-ancestral, dpmpp-2m, dpmpp-2m-sde, pndm, lcm/,
    ],
    [
      "for a folder without model_index.json",
      4,
      (model) => rmSync(join(model, "model_index.json")),
      /no model_index\.json/,
      /Give the folder that holds unet/,
    ],
  ])("%s", async (name, code, damage, what, hint) => {
    const model = copyOfModel(name.replaceAll(" ", "-"));
    damage(model);
    const ended = await sample("--model", model);
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(ended.stderr).toMatch(what);
    expect(ended.stderr).toMatch(hint);
    expect(existsSync(at("never"))).toBe(false);
  });

  test.each<[string, number, string[], RegExp]>([
    [
      "a size that the VAE does not divide",
      2,
      ["--width", "18"],
      /18×16: .*multiples of 4[\s\S]*nearest is 20×16/,
    ],
    ["a prompt file that is not UTF-8", 4, ["--prompts", "LATIN"], /latin\.txt is no UTF-8 text: .*line 2/],
    ["a prompt of ten million letters", 4, ["--prompts", "LONG"], /long\.txt, line 1: 10000000 letters/],
    ["an empty place to write to", 2, ["--output", ""], /an empty text/],
    ["a prompt file that is a folder", 4, ["--prompts", "."], /is a folder, not a prompt file/],
    ["a weight that is no number", 2, ["--lora", "x.safetensors:1.2.3"], /1\.2\.3 is no weight/],
    ["a LoRA that is none", 4, ["--lora", "PROMPTS"], /prompts\.txt: not a whole safetensors file/],
    [
      "a LoRA with names of another model",
      4,
      ["--lora", "OTHER"],
      /other\.safetensors is a LoRA for another model; this one is a model whose text is 16 wide/,
    ],
  ])("for %s", async (_, code, args, what) => {
    writeSafetensors(at("other.safetensors"), {
      "lora_unet_mid_block_9_to_q.alpha": tensor(1),
      "lora_unet_mid_block_9_to_q.lora_down.weight": tensor([[1, 2]]),
      "lora_unet_mid_block_9_to_q.lora_up.weight": tensor([[1], [2]]),
    });
    writeFileSync(at("latin.txt"), Buffer.from("a cat\ncaf\xe9\n", "latin1"));
    writeFileSync(at("long.txt"), "x".repeat(1e7));
    const places: Record<string, string> = {
      PROMPTS: world.prompts,
      OTHER: at("other.safetensors"),
      LATIN: at("latin.txt"),
      LONG: at("long.txt"),
    };
    const ended = await sample("--model", world.model, ...args.map((arg) => places[arg] ?? arg));
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(ended.stderr).toMatch(what);
    expect(existsSync(at("never"))).toBe(false);
  });

  test("for a place that is a file, before it samples", async () => {
    const ended = await sample("--model", world.model, "--output", world.prompts);
    expect(ended).toMatchObject({ code: 5, stdout: "" });
    expect(ended.stderr).toContain("a part of its path is a file, not a folder");
    expect(ended.stderr).not.toContain("sampling");
  });

  test.skipIf(!existsSync("/proc/self"))("for a place where no folder can be made, at once", async () => {
    const ended = await sample("--model", world.model, "--output", "/proc/no/folder");
    expect(ended).toMatchObject({ code: 5, stdout: "" });
    expect(ended.stderr).toContain("/proc/no/folder was not written: no folder can be made there.");
  });

  test("for weights that are NaN, naming them", async () => {
    const model = copyOfModel("nan-weights");
    const weights = new Map(readSafetensors(join(model, unet)));
    weights.set("conv_in.bias", tensor(Array.from({ length: 8 }, () => Number.NaN)));
    rmSync(join(model, unet)); // its tensors share the old file's memory
    writeSafetensors(join(model, unet), weights);
    const ended = await sample("--model", model);
    expect(ended).toMatchObject({ code: 6, stdout: "" });
    expect(ended.stderr).toContain('the first for "a red apple", seed 0');
    expect(ended.stderr).toMatch(/hold NaN or infinity:\n {2}unet {2}conv_in\.bias\n/);
    expect(existsSync(at("never"))).toBe(false);
  });

  test("and names the words beyond what the model reads, but draws the rest", async () => {
    const kept = Array.from({ length: 75 }, () => "red").join(" ");
    const ended = await cli([
      ...["sample", `${kept} tomato soup`, "--model", world.model, "--steps", "2", "--output", at("long")],
    ]);
    expect(ended.code).toBe(0);
    expect(ended.stderr).toMatch(/longer than what the model reads; left out: .*tomato soup\n/);
  });
});

test("an empty prompt list exits with 4, in training and in sampling", async () => {
  writeFileSync(at("empty.txt"), "\n  \n");
  const trained = await cli(spo("empty", "--prompts", at("empty.txt")));
  expect(trained.code).toBe(4);
  expect(trained.stderr).toContain("there is no prompt");
  const sampled = await cli(["sample", "--prompts", "-", "--model", world.model], { input: "# nothing\n" });
  expect(sampled.code).toBe(4);
  expect(sampled.stderr).toContain("there is no prompt");
});

describe("numbers that run away exit with 6", () => {
  test.each([
    ["train spm", (run: string) => spm(run, "--warmup", "1", "--optimizer.lr", "1e30")],
    ["train spo", (run: string) => spo(run, "--rounds", "20", "--optimizer.lr", "1e30")],
  ])("in %s, and no saved weight is NaN", async (name, command) => {
    const run = `nan-${name.slice(-3)}`;
    const ended = await cli(command(run));
    expect(ended.code).toBe(6);
    expect(existsSync(join(at(run), "model"))).toBe(false);
    for (const checkpoint of listCheckpoints(join(at(run), "checkpoints"))) {
      expect(checkCheckpoint(checkpoint).fault).toBeUndefined();
      for (const [, value] of readSafetensors(join(checkpoint.folder, "training-state.safetensors")))
        expect(value.isfinite().all().item()).toBe(1);
    }
  });

  test("and the last good checkpoint is kept", () => {
    // The first step of a warm-up has the rate 0: its checkpoint holds the weights that the training began with.
    const [first] = listCheckpoints(join(at("nan-spm"), "checkpoints"));
    expect(first?.step).toBe(1);
    const saved = readSafetensors(join(first?.folder as string, "training-state.safetensors"));
    const begun = readSafetensors(join(world.spm, "model.safetensors"));
    for (const [name, value] of begun) {
      const same = saved
        .get(`spm/${name.replace(/^model\./, "")}`)
        ?.eq(value)
        .all()
        .item();
      expect(same, name).toBe(1);
    }
  });
});

describe("a full disk", () => {
  const mount = join(tmpdir(), `spo-full-disk-${process.pid}`);
  mkdirSync(mount, { recursive: true });
  const isMounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=480k", "tmpfs", mount]).status === 0;
  afterAll(() => {
    if (isMounted) spawnSync("umount", [mount]);
    rmSync(mount, { recursive: true, force: true });
  });

  test.skipIf(!isMounted)(
    "exits with 5 and keeps the checkpoint before, from which the run goes on (skipped where a tmpfs cannot be mounted)",
    async () => {
      const run = join(mount, "run");
      const command = spo("unused", "--run", run, "--rank", "16", "--output", at("full-disk-model"));
      const ended = await cli(command);
      expect(ended.code).toBe(5);
      expect(ended.stderr).toContain("The disk is full");
      const before = listCheckpoints(join(run, "checkpoints")).map(checkCheckpoint);
      expect(before.length).toBeGreaterThan(0);
      expect(before.map(({ fault }) => fault)).toEqual(before.map(() => undefined));
      expect(spawnSync("mount", ["-o", "remount,size=8m", mount]).status).toBe(0);
      expect((await cli(command)).code).toBe(0);
      expect(readRun(run).events.some(({ type }) => type === "resume")).toBe(true);
    },
  );
});

test("Ctrl-C in spo data import exits with 130 and leaves no half file", async () => {
  writeFileSync(at("image.png"), await square());
  const row = { prompt: "red", image_0: at("image.png"), image_1: at("image.png"), label_0: 1, label_1: 0 };
  writeFileSync(at("many.jsonl"), `${JSON.stringify(row)}\n`.repeat(20_000));
  const output = join(folder, "import", "pairs.parquet");
  const started = startCli(["data", "import", at("many.jsonl"), "--output", output]);
  await expect.poll(() => existsSync(dirname(output)), { timeout: 300_000 }).toBe(true);
  started.process.kill("SIGINT");
  const ended = await started.ended;
  expect(ended).toMatchObject({ code: 130, stdout: "" });
  expect(ended.stderr).toContain(`${output} is not written: the same command begins anew.`);
  expect(ended.stderr).toContain("Stopped by SIGINT.");
  expect(readdirSync(dirname(output))).toEqual([]);
});

const square = (): Promise<Buffer> =>
  sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } })
    .png()
    .toBuffer();
