import { setTimeout as after } from "node:timers/promises";
import { beforeEach, describe, expect, test, vi } from "vitest";
import {
  autocast,
  checkpoint,
  enableGrad,
  inferenceMode,
  keep,
  liveTensors,
  noGrad,
  ones,
  Scope,
  scope,
  type Tensor,
  tensor,
} from "./index.js";

let before = 0;
beforeEach(() => {
  before = liveTensors();
});
const alive = (): number => liveTensors() - before;

describe("scope", () => {
  test("frees what was made in it, and gives back what is not a tensor", () => {
    expect(scope(() => ones([3]).mul(2).add(1).sum().item())).toBe(9);
    expect(alive()).toBe(0);
  });

  test("lets its result escape: alone, in arrays, Maps and plain objects, to any depth", () => {
    scope(() => {
      const found = scope(() => {
        const made = {
          a: ones([1]).add(1),
          b: [ones([2]), new Map([["c", ones([3])]])],
          n: 4,
          none: undefined,
        };
        expect(alive()).toBe(4);
        return made;
      });
      expect(alive()).toBe(3);
      expect(found.a.item()).toBe(2);
    });
    expect(alive()).toBe(0);
  });

  test("hands an escaped tensor to the enclosing scope, and to nobody outside of all", () => {
    const kept = scope(() => scope(() => ones([1])));
    expect(alive()).toBe(1);
    kept.dispose();
    expect(alive()).toBe(0);
  });

  test("frees everything when its work throws", () => {
    scope(() => {
      const outer = ones([1]);
      expect(() =>
        scope(() => {
          ones([2]).add(ones([3]));
        }),
      ).toThrow(/must match/);
      expect(outer.item()).toBe(1);
      expect(alive()).toBe(1);
    });
    expect(alive()).toBe(0);
  });

  test("leaves tensors of an outer scope to that scope, even when they are returned", () => {
    scope(() => {
      const outer = ones([1]);
      expect(scope(() => outer)).toBe(outer);
      expect(outer.isDisposed).toBe(false);
      expect(alive()).toBe(1);
    });
    expect(alive()).toBe(0);
  });

  test("spares what was disposed of by hand and what was kept", () => {
    let weight: Tensor | undefined;
    scope(() => {
      ones([1]).dispose();
      weight = keep(ones([2]));
    });
    expect(alive()).toBe(1);
    expect(weight?.shape).toEqual([2]);
    weight?.dispose();
    expect(alive()).toBe(0);
  });

  test("keeps a graph alive though its handles are gone", () => {
    scope(() => {
      const x = tensor([3]);
      x.requiresGrad = true;
      const loss = scope(() => x.mul(x).mul(x).sum());
      loss.backward();
      expect(x.grad?.item()).toBe(27);
    });
    expect(alive()).toBe(0);
  });

  test("takes no promise: the types refuse an async function", () => {
    // @ts-expect-error a promise may not come out of a scope
    const wrong = (): unknown => scope(async () => 1);
    expect(wrong).toBeTypeOf("function");
  });
});

describe("Scope", () => {
  test("frees at the end of its block, also when that is left by break", () => {
    for (let i = 0; i < 3; i++) {
      using memory = new Scope();
      const x = ones([1]);
      if (i === 1) break;
      expect(x.item()).toBe(1);
      expect(memory).toBeInstanceOf(Scope);
    }
    expect(alive()).toBe(0);
  });

  test("keeps what it is told to for the enclosing scope", () => {
    scope(() => {
      let kept: Tensor;
      {
        using memory = new Scope();
        kept = memory.keep(ones([1]).add(1));
        expect(alive()).toBe(2);
      }
      expect(alive()).toBe(1);
      expect(kept.item()).toBe(2);
    });
    expect(alive()).toBe(0);
  });

  test("throws when scopes close in another order than the opposite of opening, and can then be closed rightly", () => {
    const outer = new Scope();
    const inner = new Scope();
    expect(() => outer.close()).toThrow("closed before one opened inside it");
    inner.close();
    outer.close();
    outer.close();
    expect(alive()).toBe(0);
  });

  test("tells of an await that let other code open a scope inside it", async () => {
    const outer = new Scope();
    const other = (async () => {
      await after(1);
      return new Scope();
    })();
    await after(20);
    expect(() => outer.close()).toThrow("await");
    (await other).close();
    outer.close();
  });

  test("frees thousands of tensors at once", () => {
    {
      using _memory = new Scope();
      for (let i = 0; i < 5000; i++) ones([1]);
      expect(alive()).toBe(5000);
    }
    expect(alive()).toBe(0);
  });
});

describe("an async function", () => {
  // biome-ignore lint/suspicious/noExplicitAny: what the type refuses
  type Untyped = any;
  const works: [name: string, run: (fn: Untyped) => unknown][] = [
    ["scope", (fn) => scope(fn)],
    ["noGrad", (fn) => noGrad(fn)],
    ["enableGrad", (fn) => enableGrad(fn)],
    ["inferenceMode", (fn) => inferenceMode(fn)],
    ["autocast", (fn) => autocast({ dtype: "bfloat16" }, fn)],
    ["checkpoint", (fn) => checkpoint(fn, [])],
  ];
  test.each(works)("is refused by %s, and so is anything else that will come later", (name, run) => {
    const refused = `${name} was given an async function, or one that gives a promise`;
    expect(() => run(async () => 1)).toThrow(refused);
    // biome-ignore lint/suspicious/noThenProperty: a thenable of the user's own
    expect(() => run(() => ({ then: () => {} }))).toThrow(refused);
  });

  test("leaves no tensor of its first part, and its own failure after that is silent", async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listen);
    expect(() =>
      scope((async () => {
        const x = ones([2]);
        await after(1);
        return x.add(1); // x is gone
      }) as Untyped),
    ).toThrow(TypeError);
    expect(alive()).toBe(0);
    await after(20);
    process.off("unhandledRejection", listen);
    expect(unhandled).toEqual([]);
  });
});

test("ten thousand tensors of no scope are warned of once; those that are kept, in a scope or disposed of do not count", async () => {
  // The count of a module of its own: other tests of this process have tensors that wait for the garbage collector.
  vi.resetModules();
  const { keep, ones, scope } = await import("./index.js");
  const warnings: Error[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on("warning", listen);
  const kept = Array.from({ length: 6000 }, () => keep(ones([1])));
  for (let i = 0; i < 6000; i++) ones([1]).dispose();
  scope(() => Array.from({ length: 6000 }, () => ones([1])).length);
  const stray = Array.from({ length: 9000 }, () => ones([1]));
  await after(1);
  expect(warnings).toEqual([]);
  stray.push(...Array.from({ length: 3000 }, () => ones([1])));
  await after(1);
  process.off("warning", listen);
  expect(warnings.map(({ message }) => message)).toEqual([
    expect.stringMatching(/^10000 tensors are alive that belong to no scope.*scope\(.*keep\(/),
  ]);
  for (const each of [...kept, ...stray]) each.dispose();
});
