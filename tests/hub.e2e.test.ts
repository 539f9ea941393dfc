// The hub's client between processes, and with Python's. Everything is asked of a server on this machine.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "@spo/torch";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeHub } from "../packages/hub/src/fake-hub.fixture.js";
import { cli, words } from "./cli.js";
import { makeTinyWorld } from "./tiny-models.js";

const FILE = "unet/diffusion_pytorch_model.safetensors";
const WEIGHTS = randomBytes(2_000_000);
const SHA256 = createHash("sha256").update(WEIGHTS).digest("hex");
const FILES = {
  "model_index.json": '{"unet": ["diffusers", "UNet2DConditionModel"]}',
  "unet/config.json": "{}",
  [FILE]: WEIGHTS,
};

let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  hub = await FakeHub.start();
  cache = mkdtempSync(join(tmpdir(), "hub-"));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  rmSync(cache, { recursive: true });
});

const variables = (more: Record<string, string> = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  HF_ENDPOINT: hub.endpoint,
  HF_HUB_CACHE: cache,
  HF_HUB_DISABLE_IMPLICIT_TOKEN: "1",
  HF_HUB_DISABLE_XET: "1",
  HF_HUB_DISABLE_TELEMETRY: "1",
  HF_HUB_OFFLINE: "0",
  NO_PROXY: "*",
  no_proxy: "*",
  ...more,
});

const client = new URL("../packages/hub/dist/index.js", import.meta.url).href;
/** A process that fetches a model and prints its folder. */
function fetchElsewhere(id: object, more: Record<string, string> = {}): ChildProcess {
  const program = `import { fetchModel } from ${JSON.stringify(client)};
    console.log(await fetchModel(${JSON.stringify(id)}));`;
  return spawn(process.execPath, ["--input-type=module", "-e", program], { env: variables(more) });
}

async function outputOf(child: ChildProcess): Promise<string> {
  let [out, err] = ["", ""];
  child.stdout?.on("data", (data) => {
    out += data;
  });
  child.stderr?.on("data", (data) => {
    err += data;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`exit code ${code}: ${err}`);
  return out.trim();
}

const downloads = () => hub.downloads(FILE).filter(({ at }) => at === "storage");
const TINY = { repo: "org/tiny", revision: "main" };

test("of two processes that want a model at once one fetches it, and both have it", async () => {
  hub.commit("org/tiny", FILES);
  const folders = await Promise.all([fetchElsewhere(TINY), fetchElsewhere(TINY)].map(outputOf));
  expect(folders[0]).toBe(folders[1]);
  expect(readFileSync(join(folders[0] as string, FILE)).equals(WEIGHTS)).toBe(true);
  expect(downloads()).toHaveLength(1);
});

test("what a killed process had fetched is taken up by the next one", async () => {
  hub.commit("org/tiny", FILES);
  hub.onDownload = ({ path }) => (path.endsWith(FILE) ? { stallAfter: 1_200_000 } : undefined);
  const first = fetchElsewhere(TINY);
  const blobs = join(cache, "models--org--tiny", "blobs");
  /** Whether a part of the weights lies there; the other files are of a hundred bytes at most. */
  const arrived = (): boolean => {
    try {
      return readdirSync(blobs).some(
        (name) => name.endsWith(".part") && statSync(join(blobs, name)).size > 100_000,
      );
    } catch {
      return false;
    }
  };
  await expect.poll(arrived, { timeout: 300_000, interval: 100 }).toBe(true);
  first.kill("SIGKILL");
  await new Promise((resolve) => first.on("close", resolve));
  hub.onDownload = () => undefined;
  const folder = await outputOf(fetchElsewhere(TINY));
  expect(readFileSync(join(folder, FILE)).equals(WEIGHTS)).toBe(true);
  expect(downloads().at(-1)?.range).toMatch(/^bytes=[1-9]\d*-/);
  expect(readdirSync(blobs).filter((name) => name.includes(".part"))).toEqual([]);
});

test("trains, and evaluates, on a model and a preference model by their names on the hub, and needs the hub no more", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hub-train-"));
  try {
    const world = await makeTinyWorld(folder);
    const filesOf = (root: string) =>
      Object.fromEntries(
        readdirSync(root, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name))
          .map((path) => [relative(root, path).replaceAll("\\", "/"), readFileSync(path)]),
      );
    hub.commit("org/tiny", filesOf(world.model));
    hub.commit("org/judge", filesOf(world.spm));
    const run = (name: string, more: Record<string, string>) =>
      cli(
        [
          ...["train", "spo", "--model", "org/tiny", "--spm", "org/judge@main", "--prompts", world.prompts],
          ...words(
            "--rounds 1 --prompts-per-round 2 --steps 3 --first-branch 1 --threshold 0.001 --samples 0",
          ),
          ...["--run", join(folder, name)],
        ],
        { env: variables(more) },
      );
    const first = await run("first", {});
    expect([first.code, first.stderr]).toEqual([0, expect.stringContaining("finished")]);
    const asked = hub.requests.length;
    const again = await run("again", { HF_HUB_OFFLINE: "1" });
    expect([again.code, hub.requests.length]).toEqual([0, asked]);
    const lora = (name: string) =>
      openSafetensors(join(folder, name, "model", "pytorch_lora_weights.safetensors"));
    using one = lora("first");
    using other = lora("again");
    for (const name of one.keys()) expect(one.get(name).toNumbers()).toEqual(other.get(name).toNumbers());
    const evaluated = await cli(
      [
        ...[
          "eval",
          "org/tiny",
          join(folder, "first"),
          "--metrics",
          "spm:org/judge",
          "--prompts",
          world.prompts,
        ],
        ...["--steps", "2", "--seeds", "0", "--output", join(folder, "eval"), "--quiet"],
      ],
      { env: variables({ HF_HUB_OFFLINE: "1" }) },
    );
    expect([evaluated.code, evaluated.stdout]).toEqual([0, expect.stringContaining("report.html")]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const script = fileURLToPath(new URL("python/hub_cache.py", import.meta.url));
const python = process.env.SPO_PYTHON ?? "python3";
const hasPython = spawnSync(python, ["-c", "import huggingface_hub"]).status === 0;

describe.skipIf(!hasPython)("Python's huggingface_hub (skipped where it is not installed)", () => {
  const inPython = async (revisions: string[], more: Record<string, string> = {}) =>
    JSON.parse(
      await outputOf(spawn(python, [script, "org/tiny", FILE, ...revisions], { env: variables(more) })),
    ) as Record<string, { folder: string; file: string; sha256: string }>;

  test("finds what we fetched, offline, by branch and by commit", async () => {
    const commit = hub.commit("org/tiny", FILES);
    const folder = await outputOf(fetchElsewhere(TINY));
    const asked = hub.requests.length;
    const found = await inPython(["main", commit], { HF_HUB_OFFLINE: "1" });
    const expected = { folder, file: join(folder, FILE), sha256: SHA256 };
    expect(found).toEqual({ main: expected, [commit]: expected });
    expect(hub.requests).toHaveLength(asked);
  });

  test("fetches what we find, offline, by branch and by commit", async () => {
    const commit = hub.commit("org/tiny", FILES);
    const { main } = await inPython(["main"]);
    const asked = hub.requests.length;
    for (const revision of ["main", commit])
      expect(await outputOf(fetchElsewhere({ ...TINY, revision }, { HF_HUB_OFFLINE: "1" }))).toBe(
        main?.folder,
      );
    expect(hub.requests).toHaveLength(asked);
  });

  test("does not fetch again what we fetched", async () => {
    hub.commit("org/tiny", FILES);
    await outputOf(fetchElsewhere(TINY));
    expect((await inPython(["main"])).main?.sha256).toBe(SHA256);
    expect(downloads()).toHaveLength(1);
  });
});
