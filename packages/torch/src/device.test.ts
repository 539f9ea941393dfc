import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  Generator,
  Linear,
  loadingOn,
  loadWeights,
  onMeta,
  openSafetensors,
  rand,
  randn,
  resolveDevice,
  scope,
  UserError,
  writeSafetensors,
  zeros,
} from "./index.js";

const faultOf = (name: string): UserError => {
  try {
    resolveDevice(name);
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error(`${name} was found`);
};

test("the processor is there, and meta needs nothing", () => {
  expect(resolveDevice("cpu")).toBe("cpu");
  expect(resolveDevice("meta")).toBe("meta");
});

test("a name that is no device's is a fault of the config, which lists the names", () => {
  for (const name of ["gpu", "cuda:x", "cuda:-1", "", "CUDA"]) {
    const { code, hint } = faultOf(name);
    expect([name, code]).toEqual([name, "CONFIG"]);
    expect(hint).toContain("cuda:N");
  }
});

test("a GPU that is not there is a fault of the machine, and the way to the doctor is told", () => {
  const { code, message, hint } = faultOf("cuda:4095");
  expect(code).toBe("ENVIRONMENT");
  expect(message).toContain("cuda:4095");
  expect(hint).toContain("npx spo doctor");
});

test("a generator's numbers are drawn where it is, wherever they are wanted", () =>
  scope(() => {
    const [ours, twin] = [new Generator(5), new Generator(5)];
    const moved = randn([3, 40], { generator: ours, device: "meta" });
    expect([moved.device, moved.shape]).toEqual(["meta", [3, 40]]);
    randn([3, 40], { generator: twin });
    expect(rand([7], { generator: ours }).toNumbers()).toEqual(rand([7], { generator: twin }).toNumbers());
  }));

test("on meta what lies on the processor is refused, also by operators that would take it", () => {
  using _ = onMeta();
  scope(() => {
    const there = zeros([4, 4], { device: "meta" });
    const here = zeros([4, 4]);
    expect(() => there.matmul(here)).toThrow("matmul was given tensors of meta and cpu");
    expect(() => there.gather(1, zeros([4, 1], { dtype: "int64" }))).toThrow("meta and cpu");
    expect(there.indexSelect(0, zeros([2], { dtype: "int64", device: "meta" })).shape).toEqual([2, 4]);
    expect(here.matmul(here).device).toBe("cpu");
  });
});

test("on meta every number is 0, and float64 is refused unless the device is said to have it", () => {
  const there = zeros([3], { device: "meta" });
  {
    using _ = onMeta();
    scope(() => {
      expect([there.max().item(), ...there.toNumbers()]).toEqual([0, 0, 0, 0]);
      expect(() => there.to({ dtype: "float64" })).toThrow("float64");
    });
    using _has = onMeta({ float64: true });
    expect(() => scope(() => there.to({ dtype: "float64" }).dtype)).toThrow("float64"); // the outer one still stands
  }
  using _ = onMeta({ float64: true });
  expect(scope(() => there.to({ dtype: "float64" }).dtype)).toBe("float64");
});

test("weights go where loadingOn says unless they are sent elsewhere, and where they were once it has ended", () => {
  const placeOf = (options?: { device: string }): string =>
    scope(() => {
      const layer = new Linear(3, 2, { bias: false });
      loadWeights(layer, new Map([["weight", zeros([2, 3])]]), options);
      return layer.weight.device;
    });
  {
    using _ = loadingOn("meta");
    expect([placeOf(), placeOf({ device: "cpu" })]).toEqual(["meta", "cpu"]);
    {
      using _inner = loadingOn("cpu");
      expect(placeOf()).toBe("cpu");
    }
    expect(placeOf()).toBe("meta");
  }
  expect(placeOf()).toBe("cpu");
});

test("the tensors of a file go to the device that it is opened for", () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-device-"));
  try {
    const path = join(folder, "x.safetensors");
    scope(() => writeSafetensors(path, { x: zeros([2, 5]) }));
    using file = openSafetensors(path, { device: "meta" });
    scope(() => expect([file.get("x").device, file.get("x").shape]).toEqual(["meta", [2, 5]]));
    using plain = openSafetensors(path);
    scope(() => expect(plain.get("x").device).toBe("cpu"));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
