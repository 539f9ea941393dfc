import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSafetensors } from "@spo/torch";
import { checkCheckpoint, listCheckpoints, readRun } from "spo/records";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, words } from "./cli.js";
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
    "train spo --rounds 3 --promptsPerRound 2 --steps 3 --firstBranch 1 --threshold 0.01 --saveEvery 1",
  ),
  ...["--model", world.model, "--spm", world.spm, "--prompts", world.prompts, "--run", at(run)],
  ...more,
];
const spm = (run: string, ...more: string[]): string[] => [
  ...words("train spm --steps 6 --batch 2 --evalEvery 100 --saveEvery 1"),
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
    ["a command", "quickstrat", "Did you mean quickstart?"],
    ["an option", "verify --jsn .", "Did you mean --json?"],
    ["a recipe", "train spmm", "Did you mean spm?"],
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
    expect(ended.stderr).toContain("treshold is no setting; did you mean threshold?");
    expect(ended.stderr).toContain("did you mean optimizer.lr?");
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
    const ended = await cli(["sample", "a red apple", "--model", model, "--out", at("none")]);
    expect(ended).toMatchObject({ code: 4, stdout: "" });
    expect(ended.stderr).toContain(file);
    expect(existsSync(at("none"))).toBe(false);
  });

  test("when shapes do not fit, listing all of them", async () => {
    const model = copyOfModel("misfit");
    const path = join(model, "unet", "config.json");
    const config = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...config, cross_attention_dim: 24 }));
    const ended = await cli(["sample", "a red apple", "--model", model, "--out", at("none")]);
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

test("an empty prompt list exits with 4, in training and in sampling", async () => {
  writeFileSync(at("empty.txt"), "\n  \n");
  const trained = await cli(spo("empty", "--prompts", at("empty.txt")));
  expect(trained.code).toBe(4);
  expect(trained.stderr).toContain("there is no prompt");
  const sampled = await cli(["sample", "--from", "-", "--model", world.model], { input: "# nothing\n" });
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
