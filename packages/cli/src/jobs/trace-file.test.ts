import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WorkMeter } from "@spo/records";
import { ones, scope } from "@spo/torch";
import { expect, test } from "vitest";
import { TraceFile } from "./trace-file.js";

interface TraceEvent {
  name: string;
  ph: string;
  ts: number;
  dur?: number;
  args?: { resident?: number; operators?: Record<string, { calls: number; cpuSeconds: number }> };
}

test("a folder that is gone at the end is no fault", () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-trace-"));
  {
    using _ = new TraceFile(join(folder, "profile.json"));
    rmSync(folder, { recursive: true });
  }
  expect(existsSync(folder)).toBe(false);
});

test("phases, memory and steps go to one file, also of a training that goes on", () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-trace-"));
  try {
    const path = join(folder, "profile.json");
    const meter = new WorkMeter();
    {
      using trace = new TraceFile(path);
      meter.phase("update", () => meter.phase("backward", () => scope(() => void ones([4]).sigmoid())));
      trace.step(1);
    }
    meter.phase("unseen", () => {});
    {
      using trace = new TraceFile(path);
      meter.phase("sampling", () => {});
      trace.step(2);
    }
    // The last comma and the bracket that the format lets be left out.
    const events = JSON.parse(`${readFileSync(path, "utf8").trim().replace(/,$/, "")}]`) as TraceEvent[];
    const spans = events.filter(({ ph }) => ph !== "C");
    expect(spans.map(({ name, ph }) => [name, ph])).toEqual([
      ["backward", "X"],
      ["update", "X"],
      ["step 1", "i"],
      ["sampling", "X"],
      ["step 2", "i"],
    ]);
    const [inner, outer, step] = spans as [TraceEvent, TraceEvent, TraceEvent];
    expect(step.args?.operators?.["aten::sigmoid"]).toEqual({ calls: 1, cpuSeconds: expect.any(Number) });
    expect(inner.ts).toBeGreaterThanOrEqual(outer.ts);
    expect(inner.ts + (inner.dur ?? 0)).toBeLessThanOrEqual(outer.ts + (outer.dur ?? 0));
    expect(Math.abs(outer.ts / 1000 - Date.now())).toBeLessThan(3_600_000);
    const memory = events.filter(({ ph }) => ph === "C");
    expect(memory).toHaveLength(3);
    for (const { args } of memory) expect(args?.resident).toBeGreaterThan(1e6);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
