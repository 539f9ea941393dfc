import { createHash } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { HubEnvironment } from "./environment.js";
import { FakeHub } from "./fake-hub.fixture.js";
import { type FetchOptions, fetchModel, type HubEvent } from "./fetch-model.js";
import type { HubId } from "./hub-id.js";

/** Contents of a size, the same each time. */
const bytes = (size: number, seed = 1): Buffer => {
  const data = Buffer.alloc(size);
  for (let i = 0, x = seed; i < size; i++) {
    x = (x * 1103515245 + 12345) % 2147483648;
    data[i] = x >>> 16;
  }
  return data;
};

const WEIGHTS = bytes(400_000);
const FILES = {
  "model_index.json": JSON.stringify({
    _class_name: "StableDiffusionPipeline",
    unet: ["diffusers", "UNet2DConditionModel"],
    safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"],
  }),
  "unet/config.json": '{"sample_size": 8}',
  "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
  "unet/diffusion_pytorch_model.fp16.safetensors": bytes(1000, 2),
  "unet/diffusion_pytorch_model.bin": bytes(1000, 3),
  "safety_checker/model.safetensors": bytes(1000, 4),
  "README.md": "# tiny",
};
const UNET = "unet/diffusion_pytorch_model.safetensors";
const TINY: HubId = { repo: "org/tiny", revision: "main" };
const ONE: HubId = { ...TINY, file: UNET };
// The hub answers in this same process: a machine that stops it for seconds must not look like silence.
const QUICK = { backoffMs: 1, silenceMs: 120_000, retries: 3 };
/** An address where nothing listens: no server of another test is given a port so low. */
const NOWHERE = "http://127.0.0.1:2";

let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  for (const name of ["NO_PROXY", "no_proxy"]) vi.stubEnv(name, "*"); // the hub is on this machine
  hub = await FakeHub.start();
  cache = mkdtempSync(join(tmpdir(), "hub-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub[Symbol.asyncDispose]();
  rmSync(cache, { recursive: true });
});

const environment = (more: Partial<HubEnvironment> = {}): HubEnvironment => ({
  cache,
  endpoint: hub.endpoint,
  offline: false,
  ...more,
});
const get = (
  id: HubId,
  {
    environment: more,
    ...options
  }: Omit<FetchOptions, "environment"> & { environment?: Partial<HubEnvironment> } = {},
) => fetchModel(id, { environment: environment(more), patience: QUICK, ...options });
const parts = (): string[] =>
  readdirSync(join(cache, "models--org--tiny", "blobs")).filter((name) => name.endsWith(".part"));

describe("the cache", () => {
  test("gets of a pipeline the parts that the engine reads, each set of weights once", async () => {
    const commit = hub.commit("org/tiny", FILES);
    const folder = await get(TINY);
    expect(folder).toBe(join(cache, "models--org--tiny", "snapshots", commit));
    const found = readdirSync(folder, { recursive: true }).map(String).sort();
    expect(found).toEqual(["model_index.json", "unet", "unet/config.json", UNET]);
    expect(readFileSync(join(folder, UNET)).equals(WEIGHTS)).toBe(true);
  });

  test("names large contents by SHA-256, small ones by git's id, and links to them relatively", async () => {
    hub.commit("org/tiny", FILES);
    const folder = await get(TINY);
    const sha256 = createHash("sha256").update(WEIGHTS).digest("hex");
    expect(readlinkSync(join(folder, UNET))).toBe(`../../../blobs/${sha256}`);
    const config = FILES["unet/config.json"];
    const git = createHash("sha1").update(`blob ${config.length}\0${config}`).digest("hex");
    expect(readlinkSync(join(folder, "unet/config.json"))).toBe(`../../../blobs/${git}`);
  });

  test("serves by branch and by commit without a single request when offline", async () => {
    const commit = hub.commit("org/tiny", FILES);
    const folder = await get(TINY);
    const asked = hub.requests.length;
    expect(await get(TINY, { environment: { offline: true } })).toBe(folder);
    expect(await get({ ...TINY, revision: commit }, { environment: { offline: true } })).toBe(folder);
    expect(await get(ONE, { environment: { offline: true } })).toBe(join(folder, UNET));
    expect(await get({ ...TINY, revision: commit })).toBe(folder); // a commit never changes
    expect(hub.requests).toHaveLength(asked);
  });

  test("follows a branch that moved, and fetches only what is new", async () => {
    hub.commit("org/tiny", FILES);
    const before = await get(TINY);
    hub.commit("org/tiny", { ...FILES, "unet/config.json": '{"sample_size": 16}' });
    const after = await get(TINY);
    expect(after).not.toBe(before);
    expect(readFileSync(join(after, "unet/config.json"), "utf8")).toContain("16");
    expect(hub.downloads(UNET).filter(({ at }) => at === "storage")).toHaveLength(1);
  });

  test("is used, and said to be, when the hub cannot be reached", async () => {
    hub.commit("org/tiny", FILES);
    const folder = await get(TINY);
    const events: HubEvent[] = [];
    const environment = { endpoint: NOWHERE };
    expect(await get(TINY, { environment, onEvent: (event) => events.push(event) })).toBe(folder);
    expect(events.at(-1)).toMatchObject({
      type: "note",
      message: expect.stringContaining("cannot be reached"),
    });
  });

  test("gets no weights when only the configs are wanted, and gets them when they are", async () => {
    hub.commit("org/tiny", FILES);
    const folder = await get(TINY, { configsOnly: true });
    expect(existsSync(join(folder, "unet/config.json"))).toBe(true);
    expect(existsSync(join(folder, UNET))).toBe(false);
    await expect(get(TINY, { environment: { offline: true } })).rejects.toMatchObject({ code: "DATA" });
    await get(TINY);
    expect(existsSync(join(folder, UNET))).toBe(true);
  });

  test("takes the fp16 weights when they are asked for", async () => {
    hub.commit("org/tiny", FILES);
    const folder = await get(TINY, { variant: "fp16" });
    expect(existsSync(join(folder, "unet/diffusion_pytorch_model.fp16.safetensors"))).toBe(true);
    expect(existsSync(join(folder, UNET))).toBe(false);
    const offline = { offline: true };
    expect(await get(TINY, { variant: "fp16", environment: offline })).toBe(folder);
    await expect(get(TINY, { environment: offline })).rejects.toMatchObject({ code: "DATA" });
  });
});

describe("a download", () => {
  test.each([0.25, 0.5, 0.75, 1 - 1 / WEIGHTS.length])(
    "that is cut at %f of the file goes on there, and the rest alone is asked for",
    async (share) => {
      hub.commit("org/tiny", FILES);
      const cut = Math.round(share * WEIGHTS.length);
      hub.onDownload = (_, count) => (count === 0 ? { cutAfter: cut } : undefined);
      expect(readFileSync(await get(ONE)).equals(WEIGHTS)).toBe(true);
      const [first, second, ...more] = hub.downloads(UNET).filter(({ at }) => at === "storage");
      expect([first?.range, more]).toEqual([undefined, []]);
      const from = Number(/bytes=(\d+)-/.exec(second?.range ?? "")?.[1]);
      expect(from).toBeGreaterThan(0);
      expect(from).toBeLessThanOrEqual(cut);
    },
  );

  test("that was given up is taken up by the next call", async () => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = ({ range }) => (range ? { cutAfter: 0 } : { cutAfter: 250_000 });
    await expect(get(ONE)).rejects.toMatchObject({
      code: "ENVIRONMENT",
      hint: expect.stringContaining("is kept"),
    });
    expect(parts()).toHaveLength(1);
    hub.onDownload = () => undefined;
    const asked = hub.requests.length;
    expect(readFileSync(await get(ONE)).equals(WEIGHTS)).toBe(true);
    expect(hub.requests.slice(asked).at(-1)?.range).toMatch(/^bytes=[1-9]\d+-/);
    expect(parts()).toEqual([]);
  });

  test("of a hub that answers a range with the whole file is right all the same", async () => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = (_, count) => (count === 0 ? { cutAfter: 150_000 } : { ignoreRange: true });
    expect(readFileSync(await get(ONE)).equals(WEIGHTS)).toBe(true);
  });

  test("with one wrong byte is thrown away and fetched again", async () => {
    hub.commit("org/tiny", FILES);
    const wrong = Buffer.from(WEIGHTS);
    wrong[123_456] = (wrong[123_456] as number) ^ 1;
    hub.onDownload = (_, count) => (count === 0 ? { body: wrong } : undefined);
    expect(readFileSync(await get(ONE)).equals(WEIGHTS)).toBe(true);
  });

  test("that stays wrong is refused, and nothing of it is kept", async () => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = () => ({ body: bytes(WEIGHTS.length, 9) });
    await expect(get(ONE)).rejects.toMatchObject({
      code: "DATA",
      message: expect.stringContaining("SHA-256"),
    });
    expect(readdirSync(join(cache, "models--org--tiny", "blobs"))).toEqual([]);
    await expect(get(ONE, { environment: { offline: true } })).rejects.toMatchObject({ code: "DATA" });
  });

  test("of a small file with wrong contents is refused by git's id", async () => {
    hub.commit("org/tiny", FILES);
    const file = "unet/config.json";
    hub.onDownload = () => ({ body: Buffer.from('{"sample_size": 9}') });
    await expect(get({ ...TINY, file })).rejects.toMatchObject({
      message: expect.stringContaining("git id"),
    });
  });

  test.each([
    ["shorter", WEIGHTS.subarray(0, 300_000)],
    ["longer", Buffer.concat([WEIGHTS, Buffer.alloc(10)])],
  ])("that is %s than the hub's listing says is refused", async (_, body) => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = () => ({ body });
    await expect(get(ONE)).rejects.toMatchObject({ name: "UserError" });
    expect(existsSync(join(cache, "models--org--tiny", "snapshots"))).toBe(false);
  });

  test("does not take the token along to another host, nor in a range request", async () => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = (_, count) => (count === 0 ? { cutAfter: 100_000 } : undefined);
    await get(ONE, { environment: { token: "secret-of-the-test" } });
    const sent = (at: string) =>
      hub.requests.filter((each) => each.at === at).map((each) => each.authorization);
    expect(new Set(sent("hub"))).toEqual(new Set(["Bearer secret-of-the-test"]));
    expect(sent("storage")).toEqual([undefined, undefined]);
  });

  test.each([429, 503])("waits as long as a %i asks for, and goes on", async (status) => {
    hub.commit("org/tiny", FILES);
    const events: HubEvent[] = [];
    hub.onDownload = (_, count) => (count === 0 ? { status, headers: { "retry-after": "1" } } : undefined);
    const began = performance.now();
    expect(readFileSync(await get(ONE, { onEvent: (event) => events.push(event) })).equals(WEIGHTS)).toBe(
      true,
    );
    expect(performance.now() - began).toBeGreaterThanOrEqual(990);
    expect(events).toContainEqual({ type: "retry", reason: `the hub answered ${status}`, waitMs: 1000 });
  });

  test("is not waited for when a hub asks for an hour", async () => {
    hub.commit("org/tiny", FILES);
    hub.onQuestion = () => ({ status: 429, headers: { "retry-after": "3600" } });
    await expect(get(ONE)).rejects.toMatchObject({ message: expect.stringContaining("3600 seconds") });
  });

  test("of a hub that stays busy ends with its words", async () => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = () => ({ status: 503 });
    await expect(get(ONE)).rejects.toMatchObject({
      message: expect.stringContaining("503"),
      hint: expect.stringContaining("later"),
    });
  });

  test("that falls silent is given up after the time limit", async () => {
    hub.commit("org/tiny", FILES);
    hub.onDownload = () => ({ silent: true });
    const patience = { ...QUICK, silenceMs: 150, retries: 1 };
    await expect(get(ONE, { patience })).rejects.toMatchObject({ code: "ENVIRONMENT" });
  });

  test("stops when it is told to, throws the reason, and keeps what has arrived", async () => {
    hub.commit("org/tiny", FILES);
    const stop = new AbortController();
    const reason = new Error("enough");
    hub.onDownload = () => ({ cutAfter: 200_000 });
    const onEvent = (event: HubEvent) => {
      if (event.type === "progress" && event.done > 0) stop.abort(reason);
    };
    await expect(get(ONE, { signal: stop.signal, onEvent })).rejects.toBe(reason);
    expect(parts()).toHaveLength(1);
  });

  test("is made once when two ask for it at the same time", async () => {
    hub.commit("org/tiny", FILES);
    const events: HubEvent[] = [];
    const both = await Promise.all([get(TINY), get(TINY, { onEvent: (event) => events.push(event) })]);
    expect(both[0]).toBe(both[1]);
    expect(hub.downloads(UNET).filter(({ at }) => at === "storage")).toHaveLength(1);
  });

  test("is not begun when the disk has no room for it", async () => {
    hub.commit("org/tiny", FILES);
    hub.claimedSizes.set(UNET, 1e15);
    await expect(get(ONE)).rejects.toMatchObject({
      code: "RESOURCE",
      message: expect.stringContaining("too full"),
    });
    expect(hub.downloads(UNET)).toEqual([]);
  });

  test("tells its bytes up to the total", async () => {
    hub.commit("org/tiny", FILES);
    const events: HubEvent[] = [];
    await get(TINY, { onEvent: (event) => events.push(event) });
    const moves = events.filter((event) => event.type === "progress");
    expect(moves.at(-1)?.done).toBe(moves.at(-1)?.total);
    expect(moves.map(({ done }) => done)).toEqual(moves.map(({ done }) => done).toSorted((a, b) => a - b));
  });
});

describe("a fault says what to do:", () => {
  test.each<[string, HubId, string, string]>([
    ["an unknown model", { repo: "org/none", revision: "main" }, "org/none is not on", "Check its spelling"],
    ["a gated model", { repo: "org/gated", revision: "main" }, "org/gated is gated", "accept its terms"],
    ["an unknown branch", { ...TINY, revision: "dev" }, 'no branch, tag or commit "dev"', "branch main"],
    [
      "an unknown file",
      { ...TINY, file: "vae/config.json" },
      "no file vae/config.json",
      "Did you mean org/tiny/unet/config.json?",
    ],
    [
      "a repository of single files",
      { repo: "org/files", revision: "main" },
      "no model folder",
      "org/files/a.safetensors",
    ],
  ])("%s", async (_, id, message, hint) => {
    hub.commit("org/tiny", FILES);
    hub.commit("org/gated", FILES, { gate: { status: 403, code: "GatedRepo" } });
    hub.commit("org/files", { "a.safetensors": bytes(10), "README.md": "" });
    await expect(get(id)).rejects.toMatchObject({
      name: "UserError",
      code: "DATA",
      message: expect.stringContaining(message),
      hint: expect.stringContaining(hint),
    });
  });

  test("offline and not there", async () => {
    await expect(get(TINY, { environment: { offline: true } })).rejects.toMatchObject({
      message: expect.stringContaining(`org/tiny is not in the cache`),
      hint: expect.stringContaining("HF_HUB_OFFLINE=0"),
    });
  });

  test("offline and there only in part", async () => {
    hub.commit("org/tiny", FILES);
    await get({ ...TINY, file: "model_index.json" });
    await expect(get(TINY, { environment: { offline: true } })).rejects.toMatchObject({
      message: expect.stringContaining("only in part (missing: unet/)"),
    });
  });

  test("no hub at the address", async () => {
    await expect(get(TINY, { environment: { endpoint: NOWHERE } })).rejects.toMatchObject({
      code: "ENVIRONMENT",
      message: expect.stringContaining("the connection was refused"),
    });
  });

  test.each(["\x1b[2Jevil.json", "\x9b2J.json", "\u202enosj.evil.json"])(
    "a listing with a name that a terminal acts on, %j",
    async (name) => {
      hub.commit("org/tiny", { ...FILES, [name]: "{}" });
      await expect(get(TINY)).rejects.toMatchObject({ message: expect.stringContaining("answers oddly") });
      expect(readdirSync(cache, { recursive: true }).filter((path) => String(path).includes("evil"))).toEqual(
        [],
      );
    },
  );

  test("a listing with a name that leaves the folder", async () => {
    hub.commit("org/tiny", { ...FILES, "../../evil.json": "{}" });
    await expect(get(TINY)).rejects.toMatchObject({ message: expect.stringContaining("answers oddly") });
    expect(existsSync(join(cache, "evil.json"))).toBe(false);
  });
});

test("a lock that a dead process left is taken over", async () => {
  hub.commit("org/tiny", FILES);
  const folder = await get({ ...TINY, file: "model_index.json" });
  expect(existsSync(folder)).toBe(true);
  const sha256 = createHash("sha256").update(WEIGHTS).digest("hex");
  const { hostname } = await import("node:os");
  const lock = join(cache, ".locks", "models--org--tiny", `${sha256}.spo.lock`);
  writeFileSync(lock, JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), started: "1" }));
  expect(readFileSync(await get(ONE)).equals(WEIGHTS)).toBe(true);
  expect(existsSync(lock)).toBe(false);
});
