import { expect, test } from "vitest";
import { Generator, onMeta, rand, randn, resolveDevice, scope, UserError, zeros } from "./index.js";

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
