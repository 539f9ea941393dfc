import { spawnSync } from "node:child_process";
import fs, { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type CheckpointFiles, checkCheckpoint, computedPart, parseEvents, Run, readRun } from "./index.js";

let folder: string;
beforeEach(() => {
  vi.spyOn(process, "availableMemory").mockReturnValue(0); // a checkpoint is then written in this thread
  folder = join(mkdtempSync(join(tmpdir(), "spo-records-")), "run");
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(join(folder, ".."), { recursive: true, force: true });
});

const settings = { kind: "spo", config: { steps: 6, optimizer: { lr: 0.1 } } };
const log = (): string => join(folder, "events.jsonl");

/** A recipe whose state is one number; stops after `until` steps as a killed process would: without a word. */
function train(until = 6): { state: number; warnings: string[] } {
  using run = Run.open(folder, settings);
  let state = 0;
  let step = run.resume((at) => {
    state = Number(readFileSync(join(at, "state.txt"), "utf8"));
  });
  if (step === 0) spend(run.eval(0, { score: 0 }));
  for (; step < until; step++) {
    state += step + 1;
    spend(run.step(step + 1, 6, { loss: 1 / state }, { passes: { unetPolicy: 2 } }));
    spend(run.eval(step + 1, { score: state }));
    if ((step + 1) % 2 === 0) spend(run.save(step + 1, () => stateFile(state)));
  }
  if (until === 6) spend(run.done({ state }));
  const warnings = run.events().flatMap((event) => (event.type === "warn" ? [event.message] : []));
  return { state, warnings };
}
const stateFile = (state: number): CheckpointFiles => {
  const bytes = Buffer.from(String(state));
  return { "state.txt": { bytes: bytes.length, chunks: [Uint8Array.from(bytes)] } };
};
const spend = (events: Iterable<unknown>): void => void [...events];

const checkpoints = (): string[] => readdirSync(join(folder, "checkpoints")).sort();

describe("a run's folder", () => {
  test.each(["latent", null])("keeps a setting called kind (%s) beside the kind of the run", (kind) => {
    const own = { kind: "train spm", config: { steps: 6, kind } };
    Run.open(folder, own).close();
    expect(readRun(folder)).toMatchObject({ kind: "train spm", config: { steps: 6, kind } });
    Run.open(folder, own).close(); // the same run again
    expect(() => Run.open(folder, { ...own, config: { steps: 6, kind: "pixel" } })).toThrow(/now "?pixel/);
  });

  test("resumed after any number of steps it computes the same events as unbroken", () => {
    train();
    const unbroken = computedPart(readRun(folder).events);
    for (const stop of [1, 2, 3, 4, 5]) {
      rmSync(folder, { recursive: true });
      train(stop);
      expect(train().state).toBe(21);
      expect(computedPart(readRun(folder).events)).toEqual(unbroken);
    }
  });

  test("only the newest two checkpoints are kept", () => {
    train();
    expect(checkpoints()).toEqual(["step-00000004", "step-00000006"]);
  });

  test("another config is refused, and the differing keys are named with both values", () => {
    train(1);
    const other = { kind: "spo", config: { steps: 6, optimizer: { lr: 0.2 } } };
    expect(() => Run.open(folder, other)).toThrow(/optimizer\.lr: there 0\.1, now 0\.2/);
    expect(() => Run.open(folder, { ...settings, kind: "spm" })).toThrow(/another kind \(spo\)/);
  });

  test("a folder with other things in it is refused and left as it was", () => {
    fs.mkdirSync(folder);
    writeFileSync(join(folder, "thesis.txt"), "");
    expect(() => Run.open(folder, settings)).toThrow(/not empty and holds no run/);
    expect(readdirSync(folder)).toEqual(["thesis.txt"]);
  });

  test("a living writer is refused, a dead one's lock is taken over", () => {
    train(1);
    const lock = join(folder, "writer.json");
    const started = readFileSync("/proc/1/stat", "utf8").split(") ")[1]?.split(" ")[19];
    writeFileSync(lock, JSON.stringify({ pid: 1, started }));
    expect(() => Run.open(folder, settings)).toThrow(/written by process 1/);
    writeFileSync(lock, JSON.stringify({ pid: 1, started: "of an earlier process with that number" }));
    Run.open(folder, settings).close();
    const { pid } = spawnSync("true");
    writeFileSync(lock, JSON.stringify({ pid }));
    Run.open(folder, settings).close();
    writeFileSync(lock, "");
    Run.open(folder, settings).close();
    expect(readdirSync(folder)).not.toContain("writer.json");
  });

  test("one process opens it once at a time, and names the other that has it", () => {
    const first = Run.open(folder, settings);
    expect(() => Run.open(folder, settings)).toThrow(`is being written by process ${process.pid}.`);
    first.close();
    Run.open(folder, settings).close();
  });

  test("one that another process makes between two looks is a run", () => {
    train(1);
    const other = readFileSync(join(folder, "config.json"));
    rmSync(join(folder, "config.json"));
    const { readdirSync: original } = fs;
    const patch = (readdir: typeof original): void => {
      Object.assign(fs, { readdirSync: readdir });
      syncBuiltinESMExports();
    };
    patch(((...args: Parameters<typeof original>) => {
      writeFileSync(join(folder, "config.json"), other);
      return original(...args);
    }) as typeof original);
    try {
      Run.open(folder, settings).close();
    } finally {
      patch(original);
    }
  });

  test("an empty folder of which another process makes a run just after it was listed is opened too", () => {
    Run.open(folder, settings).close();
    const [config, start] = ["config.json", "events.jsonl"].map((name) => readFileSync(join(folder, name)));
    rmSync(folder, { recursive: true });
    fs.mkdirSync(folder);
    const { readdirSync: original } = fs;
    const patch = (readdir: typeof original): void => {
      Object.assign(fs, { readdirSync: readdir });
      syncBuiltinESMExports();
    };
    patch(((...args: Parameters<typeof original>) => {
      const listed = original(...args);
      writeFileSync(join(folder, "config.json"), config as Buffer);
      writeFileSync(log(), start as Buffer);
      return listed;
    }) as typeof original);
    try {
      Run.open(folder, settings).close();
    } finally {
      patch(original);
    }
  });

  test("who lost it to another process, or whose folder is gone, writes nothing more and says so", () => {
    const run = Run.open(folder, settings);
    const before = readFileSync(log(), "utf8");
    writeFileSync(
      join(folder, "writer.json"),
      JSON.stringify({ pid: 1, host: "elsewhere", boot: "another" }),
    );
    expect(() => spend(run.step(1, 6, { loss: 1 }))).toThrow(
      /no longer this process's: process 1 on elsewhere writes it now/,
    );
    expect(() => spend(run.save(1, () => expect.unreachable()))).toThrow(UserError);
    expect(readFileSync(log(), "utf8")).toBe(before);
    rmSync(folder, { recursive: true });
    expect(() => spend(run.step(1, 6, { loss: 1 }))).toThrow(/the folder is gone/);
  });

  test("the best weights are kept by the process that writes, and by no other", () => {
    const files = stateFile(2);
    using follower = Run.follow(folder);
    follower.saveBest(2, files);
    expect(existsSync(folder)).toBe(false);
    using run = Run.open(folder, settings);
    run.saveBest(2, files);
    expect(readFileSync(join(run.best(2), "state.txt"), "utf8")).toBe("2");
  });

  test("settings that are called as what every object has are told of like others", () => {
    Run.open(folder, settings).close();
    const path = join(folder, "config.json");
    const odd = { ...JSON.parse(readFileSync(path, "utf8")), toString: 1, hasOwnProperty: "x".repeat(1000) };
    writeFileSync(path, JSON.stringify(odd));
    expect(() => Run.open(folder, settings)).toThrow(
      /toString: there 1, now nothing\n {2}hasOwnProperty: there "x{199}…, now nothing$/,
    );
    writeFileSync(path, "{}");
    expect(() => readRun(folder)).toThrow(/it names no kind of run/);
  });

  test("a loss that is not a number is recorded as null", () => {
    using run = Run.open(folder, settings);
    spend(run.step(1, 6, { loss: Number.NaN }));
    expect(computedPart(run.events())).toMatchObject([{ metrics: { loss: null } }]);
  });
});

describe("a torn log", () => {
  test("cut at any byte of its last two records it gives all earlier records, and the run goes on to the same end", () => {
    train();
    const whole = readFileSync(log());
    const unbroken = computedPart(parseEvents(whole.toString()));
    const lines = whole.toString().trimEnd().split("\n");
    const lastTwo = Buffer.byteLength(lines.slice(-2).join("\n")) + 1;
    for (let cut = whole.length - lastTwo; cut < whole.length; cut++) {
      writeFileSync(log(), whole.subarray(0, cut));
      const read = readRun(folder);
      expect(read.faults).toEqual([]);
      expect(read.events.length).toBe(whole.subarray(0, cut).toString().split("\n").length - 1);
      if (cut % 7 === 0) {
        train();
        expect(computedPart(readRun(folder).events)).toEqual(unbroken);
      }
    }
  });

  test("a damaged line in its middle is passed over when shown and refused, by number, when gone on with", () => {
    train();
    const lines = readFileSync(log(), "utf8").split("\n");
    lines[3] = `${lines[3]?.slice(0, 20)}`;
    writeFileSync(log(), lines.join("\n"));
    expect(readRun(folder).faults).toHaveLength(1);
    expect(() => train()).toThrow(/line 4 is damaged/);
  });
});

describe("a damaged checkpoint", () => {
  const damages: Record<string, (at: string) => void> = {
    "a flipped bit in its data": (at) => flip(join(at, "state.txt")),
    "a flipped bit in its manifest": (at) => flip(join(at, "manifest.json")),
    "a missing file": (at) => rmSync(join(at, "state.txt")),
    "a cut file": (at) => fs.truncateSync(join(at, "state.txt"), 0),
    "no manifest": (at) => rmSync(join(at, "manifest.json")),
  };
  for (const [name, damage] of Object.entries(damages)) {
    test(`with ${name} is passed over, said aloud, and the one before is used`, () => {
      train();
      const unbroken = computedPart(readRun(folder).events);
      damage(join(folder, "checkpoints", "step-00000006"));
      const { state, warnings } = train();
      expect(state).toBe(21);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/step-00000006 is damaged .* going on from step 4/);
      expect(computedPart(readRun(folder).events)).toEqual(unbroken);
    });
  }

  test("is found wherever one of its bits is flipped", () => {
    train();
    const at = join(folder, "checkpoints", "step-00000006");
    for (const file of ["state.txt", "manifest.json"]) {
      const path = join(at, file);
      const bytes = readFileSync(path);
      for (let i = 0; i < bytes.length; i++) {
        const damaged = Buffer.from(bytes);
        damaged[i] = (damaged[i] as number) ^ (1 << (i % 8));
        writeFileSync(path, damaged);
        const { fault } = checkCheckpoint({ step: 6, folder: at });
        expect(fault, `bit ${i % 8} of byte ${i} of ${file}`).toBeDefined();
      }
      writeFileSync(path, bytes);
    }
    expect(checkCheckpoint({ step: 6, folder: at }).fault).toBeUndefined();
  });

  test("of an earlier version, without the hash of its manifest, is whole", () => {
    train();
    const path = join(folder, "checkpoints", "step-00000006", "manifest.json");
    const { sha256: _, ...rest } = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, `${JSON.stringify(rest, null, 2)}\n`);
    expect(train().warnings).toEqual([]);
  });
});

describe("what a run lost is told", () => {
  const told = (): string[] =>
    readRun(folder).events.flatMap((event) => (event.type === "warn" ? [event.message] : []));
  /** What a recipe yields of a run that goes on: all that is recorded. */
  function yielded(): unknown[] {
    using run = Run.open(folder, settings);
    const step = run.resume(() => {});
    return run.step(step + 1, 6, { loss: 1 });
  }

  test("with the next event that is yielded, once", () => {
    train(5);
    flip(join(folder, "checkpoints", "step-00000004", "state.txt"));
    expect(yielded()).toMatchObject([
      { type: "warn", message: expect.stringContaining("step-00000004 is damaged (state.txt has changed)") },
      { type: "step", step: 3 },
    ]);
  });

  test("all checkpoints gone: it begins anew, and its log is kept aside", () => {
    train();
    const before = readRun(folder).events;
    const text = readFileSync(log(), "utf8");
    for (const n of [1, 2]) {
      rmSync(join(folder, "checkpoints"), { recursive: true });
      expect(train()).toMatchObject({
        state: 21,
        warnings: [expect.stringMatching(`there was one at step 6: .* kept as events.lost-${n}.jsonl`)],
      });
      expect(computedPart(readRun(folder).events)).toEqual(computedPart(before));
    }
    expect(readFileSync(join(folder, "events.lost-1.jsonl"), "utf8")).toBe(text);
  });

  test("all checkpoints damaged: so too", () => {
    train();
    for (const name of checkpoints()) flip(join(folder, "checkpoints", name, "state.txt"));
    const { state, warnings } = train();
    expect(state).toBe(21);
    expect(warnings).toHaveLength(3);
    expect(fs.existsSync(join(folder, "events.lost-1.jsonl"))).toBe(true);
  });

  test("a run that was ended before its first checkpoint begins anew without a word", () => {
    train(1);
    expect(train()).toEqual({ state: 21, warnings: [] });
    expect(readdirSync(folder).sort()).toEqual(["checkpoints", "config.json", "events.jsonl", "tensorboard"]);
  });

  test("the newest checkpoint gone: the one before is used", () => {
    train(5);
    rmSync(join(folder, "checkpoints", "step-00000004"), { recursive: true });
    const { state, warnings } = train();
    expect(state).toBe(21);
    expect(warnings).toEqual([
      expect.stringMatching(/step-00000004, which the log tells of, is gone; .* step 2/),
    ]);
  });

  const losses: Record<string, [() => void, RegExp]> = {
    removed: [() => rmSync(log()), /is shorter than it was when step-00000004 was saved/],
    emptied: [() => writeFileSync(log(), ""), /is shorter than it was/],
    cut: [() => writeFileSync(log(), readFileSync(log()).subarray(0, 300)), /is shorter than it was/],
    edited: [
      () => writeFileSync(log(), readFileSync(log(), "utf8").replace('"score":1', '"score":9')),
      /is not what it was/,
    ],
  };
  for (const [name, [damage, message]] of Object.entries(losses)) {
    test(`the log ${name}: the state is whole and the history is not`, () => {
      train(5);
      damage();
      const { state, warnings } = train();
      expect(state).toBe(21);
      expect(warnings).toEqual([expect.stringMatching(message)]);
      expect(told()).toEqual(warnings);
    });
  }

  test("the log removed or changed while the run is at work", () => {
    const run = Run.open(folder, settings);
    spend(run.step(1, 6, { loss: 1 }));
    rmSync(log());
    expect(run.step(2, 6, { loss: 1 })).toMatchObject([
      { type: "warn", message: expect.stringMatching(/was removed while this run was at work/) },
      { type: "step", step: 2 },
    ]);
    expect(readRun(folder).events.map(({ type }) => type)).toEqual(["start", "warn", "step"]);
    writeFileSync(log(), "");
    spend(run.save(2, () => stateFile(3)));
    expect(told()).toEqual([expect.stringMatching(/was changed by something else/)]);
    expect(run.step(3, 6, { loss: 1 })).toHaveLength(1);
    run.close();
    expect(train().warnings).toHaveLength(1); // that one: the log is what the checkpoint knows
  });

  test("what is recorded is so whether it is yielded or not", () => {
    using run = Run.open(folder, settings);
    run.step(1, 6, { loss: 1 });
    run.save(1, () => stateFile(1));
    expect(readRun(folder).events.map(({ type }) => type)).toEqual(["start", "step", "checkpoint"]);
    expect(checkpoints()).toEqual(["step-00000001"]);
  });

  test("other data under the same path, by name, old and new", () => {
    train(3);
    const open = (facts: Record<string, string | number>): unknown[] => {
      using run = Run.open(folder, settings);
      run.resume(() => {});
      return run.data(facts);
    };
    expect(open({ pairs: 10, sha256: "ab" })).toMatchObject([{ type: "data" }]);
    expect(open({ pairs: 10, sha256: "ab" })).toMatchObject([{ type: "data" }]); // cut off: nothing was saved since
    train(5);
    expect(open({ pairs: 10, sha256: "ab" })).toMatchObject([{ type: "data" }]);
    using run = Run.open(folder, settings);
    run.resume(() => {});
    run.data({ pairs: 10, sha256: "ab" });
    expect(run.data({ pairs: 10, sha256: "ab" })).toEqual([]);
    expect(run.data({ pairs: 11, sha256: "cd" })).toMatchObject([
      { type: "warn", message: expect.stringMatching(/pairs was 10 and is 11; sha256 was "ab" and is "cd"/) },
      { type: "data", facts: { pairs: 11 } },
    ]);
  });

  test("a run whose folder is gone is given up without another fault", () => {
    const run = Run.open(folder, settings);
    rmSync(folder, { recursive: true });
    run.discardUnused();
  });
});

describe("a run that exists", () => {
  const mayChange = { settings: ["device", "saveEvery"], length: "steps" };
  const config = { steps: 6, saveEvery: 2, lr: 1 };
  const open = (changed: object = {}): Run =>
    Run.open(folder, { kind: "spo", config: { ...config, ...changed }, mayChange });
  const written = (): unknown => JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));

  function go(to: number, changed: object = {}): Run {
    const run = open(changed);
    let step = run.resume(() => {});
    for (; step < to; step++) run.step(step + 1, to, { loss: 1 });
    run.save(to, () => stateFile(1));
    run.done({});
    return run;
  }

  test("takes up what its result does not mean: in its config, in its log, and told", () => {
    open().close();
    using run = open({ saveEvery: 3, steps: 9 });
    run.resume(() => {});
    expect(written()).toEqual({ kind: "spo", steps: 9, saveEvery: 3, lr: 1 });
    expect(run.phase("x", 0, 1)).toMatchObject([
      { type: "settings", step: 0, changes: { saveEvery: { from: 2, to: 3 }, steps: { from: 6, to: 9 } } },
      { type: "phase" },
    ]);
  });

  test("refuses the rest, by name, and says what may change", () => {
    open().close();
    expect(() => open({ lr: 2, saveEvery: 3 })).toThrow(
      /^.* holds a run with other settings\.\n {2}lr: there 1, now 2$/,
    );
    expect(() => open({ lr: 2 })).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("device, saveEvery and steps may change") }),
    );
    expect(written()).toEqual({ kind: "spo", ...config });
  });

  test("that has ended goes on from its last checkpoint when it is given more steps", () => {
    go(6).close();
    expect(Run.ended(folder, { kind: "spo", config, mayChange })).toMatchObject({ type: "done" });
    expect(Run.ended(folder, { kind: "spo", config: { ...config, steps: 8 }, mayChange })).toBeUndefined();
    expect(() => open({ steps: 5 })).toThrow(/has done 6 of its steps: 5 lies behind it/);
    const run = go(8, { steps: 8 });
    expect(run.result()).toEqual({});
    expect(run.events().filter(({ type }) => type === "step")).toHaveLength(8);
    run.close();
    rmSync(join(folder, "checkpoints"), { recursive: true });
    expect(() => go(9, { steps: 9 })).toThrow(/has ended, and no checkpoint is left/);
    expect(written()).toMatchObject({ steps: 8 });
  });

  test("and was killed after its end keeps no lock", () => {
    go(6).close();
    const lock = join(folder, "writer.json");
    writeFileSync(lock, '{"pid":999999,"started":"17"}\n');
    expect(Run.ended(folder, { kind: "spo", config: { ...config, steps: 8 }, mayChange })).toBeUndefined();
    expect(existsSync(lock)).toBe(true); // it goes on: `open` takes it
    expect(Run.ended(folder, { kind: "spo", config, mayChange })).toMatchObject({ type: "done" });
    expect(existsSync(lock)).toBe(false);
  });

  test("and has ended is told of without a write", () => {
    go(6).close();
    writeFileSync(join(folder, "writer.json"), '{"pid":999999,"started":"17"}\n');
    const heal = sabotage(() => true, "EROFS", { reads: false });
    try {
      expect(Run.ended(folder, { kind: "spo", config, mayChange })).toMatchObject({
        type: "done",
        result: {},
      });
    } finally {
      heal();
    }
  });
});

describe("a fault while saving", () => {
  test.each([
    ["in this thread, where there is no memory for a copy", 0],
    ["beside the training", 2 ** 40],
  ])(
    "%s, at any call of the file system names the file, and the checkpoint before still loads",
    (_, memory) => {
      vi.spyOn(process, "availableMemory").mockReturnValue(memory);
      train(2);
      let [calls, total] = [0, 1];
      for (let failing = 0; failing <= total; failing++) {
        calls = 0;
        const run = Run.open(folder, settings);
        const heal = sabotage(() => ++calls === failing, failing % 2 ? "ENOSPC" : "EIO");
        let thrown: unknown;
        try {
          spend(run.save(3, () => stateFile(6), { wait: true }));
        } catch (error) {
          thrown = error;
        } finally {
          heal();
          run.close();
        }
        if (failing === 0) total = calls;
        else {
          expect(thrown).toBeInstanceOf(UserError);
          expect((thrown as UserError).code).toBe("RESOURCE");
          expect((thrown as UserError).message).toContain(folder);
        }
        using again = Run.open(folder, settings);
        let state = "";
        expect(again.resume((at) => (state = readFileSync(join(at, "state.txt"), "utf8")))).toSatisfy(
          (step) => (step === 3 ? state === "6" : step === 2 && state === "3"),
        );
        rmSync(join(folder, "checkpoints", "step-00000003"), { recursive: true, force: true });
      }
      expect(total).toBeGreaterThan(memory === 0 ? 15 : 5);
    },
  );
});

describe("saving beside the training", () => {
  beforeEach(() => vi.spyOn(process, "availableMemory").mockReturnValue(2 ** 40));

  test("keeps the state of its moment, and the next save has it in place", () => {
    using run = Run.open(folder, settings);
    const state = Uint8Array.of(1, 2, 3);
    const files = (): CheckpointFiles => ({ state: { bytes: 3, chunks: [state.slice()] } });
    spend(run.step(1, 6, { loss: 1 }));
    expect(run.save(1, files)).toEqual([]); // it is not there yet
    state.fill(9);
    spend(run.step(2, 6, { loss: 1 }));
    const told = run.save(2, files, { wait: true });
    expect([...readFileSync(join(folder, "checkpoints", "step-00000001", "state"))]).toEqual([1, 2, 3]);
    expect([...readFileSync(join(folder, "checkpoints", "step-00000002", "state"))]).toEqual([9, 9, 9]);
    expect(told.findLast(({ type }) => type === "checkpoint")).toMatchObject({ step: 2 });
    const saved = run.events().flatMap((event) => (event.type === "checkpoint" ? [event.step] : []));
    expect(saved).toEqual([1, 2]);
  });

  test.each(["save", "done"] as const)("a fault comes out of the next %s", (next) => {
    using run = Run.open(folder, settings);
    writeFileSync(join(folder, "checkpoints"), ""); // no folder can be made there
    run.save(1, () => stateFile(1));
    expect(() => (next === "done" ? run.done({}) : run.save(2, () => stateFile(2)))).toThrow(
      expect.objectContaining({ code: "RESOURCE", message: expect.stringContaining(folder) }),
    );
    expect(run.result()).toBeUndefined();
  });

  test("a run that is closed meanwhile has the checkpoint, and goes on from it", () => {
    const run = Run.open(folder, settings);
    run.save(1, () => stateFile(1));
    run.close();
    using again = Run.open(folder, settings);
    expect(again.resume(() => {})).toBe(1);
    expect(again.takeUntold()).toEqual([]);
  });
});

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[0] = (bytes[0] as number) ^ 1;
  writeFileSync(path, bytes);
}

/** Makes the calls that write fail where `isDue` says so. */
function sabotage(isDue: () => boolean, code: string, { reads = true } = {}): () => void {
  const names = ["openSync", "writeSync", "fsyncSync", "renameSync", "mkdirSync"] as const;
  const originals = names.map((name) => [name, fs[name]] as const);
  for (const [name, original] of originals) {
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        const isRead = name === "openSync" && (args[1] ?? "r") === "r";
        if ((reads || !isRead) && isDue())
          throw Object.assign(new Error(`${code}: no luck, ${name}`), { code, syscall: name });
        return (original as (...args: unknown[]) => unknown)(...args);
      },
    });
  }
  syncBuiltinESMExports();
  return () => {
    Object.assign(fs, Object.fromEntries(originals));
    syncBuiltinESMExports();
  };
}
