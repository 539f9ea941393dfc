import { cat, Generator, randn, scope, type Tensor, zeros } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { refusal } from "../refusal.fixture.js";
import type { LoraAdapter, LoraWeights } from "./lora-adapter.js";
import { type FusedLayer, joinFused, splitFused } from "./lora-fused.js";

const draw = (shape: readonly number[], seed: number): Tensor =>
  randn(shape, { generator: new Generator(seed) });

/** One map of 3 + 3 + 5 rows, and one whose halves are the other way round. */
const FUSED = new Map<string, FusedLayer>([
  [
    "t.fused",
    {
      part: "t",
      original: "fused",
      layers: [
        { layer: "t.q", rows: 3 },
        { layer: "t.k", rows: 3 },
        { layer: "t.mlp", rows: 5 },
      ],
      halvesSwapped: false,
    },
  ],
  ["t.norm", { part: "t", original: "norm", layers: [{ layer: "t.ours", rows: 4 }], halvesSwapped: true }],
]);

/** ΔW of an adapter of a layer. */
const delta = ({ down, up, alpha }: LoraWeights): number[] =>
  up
    .matmul(down)
    .mul(alpha / (down.shape[0] as number))
    .toNumbers();

const close = (found: readonly number[], expected: readonly number[]): void => {
  expect(found.length).toBe(expected.length);
  for (const [i, value] of expected.entries())
    expect(Math.abs((found[i] as number) - value)).toBeLessThan(1e-6);
};

const weights = (rows: number, rank: number, alpha: number, seed: number): LoraWeights => ({
  down: draw([rank, 4], seed),
  up: draw([rows, rank], seed + 1),
  alpha,
});

describe("adapters of the layers in a fused map", () => {
  test("of different ranks and strengths change it as each of them does, and one that is not there not at all", () => {
    scope(() => {
      const adapter: LoraAdapter = new Map([
        ["t.q", weights(3, 2, 1, 1)],
        ["t.mlp", weights(5, 1, 3, 3)],
        ["t.other", weights(2, 1, 1, 5)],
      ]);
      const joined = joinFused(adapter, FUSED);
      expect([...joined.keys()].sort()).toEqual(["t.fused", "t.other"]);
      const q = delta(adapter.get("t.q") as LoraWeights);
      const mlp = delta(adapter.get("t.mlp") as LoraWeights);
      close(delta(joined.get("t.fused") as LoraWeights), [...q, ...Array(12).fill(0), ...mlp]);
    });
  });

  test("of one rank come back bit for bit, and what was left out stays out", () => {
    scope(() => {
      const adapter: LoraAdapter = new Map([
        ["t.q", weights(3, 2, 1, 1)],
        ["t.k", weights(3, 2, 1, 3)],
      ]);
      const back = splitFused(joinFused(adapter, FUSED), FUSED, "file");
      expect([...back.keys()]).toEqual(["t.q", "t.k"]);
      for (const [layer, { down, up, alpha }] of adapter) {
        const found = back.get(layer);
        expect([found?.down.toNumbers(), found?.up.toNumbers(), found?.alpha]).toEqual([
          down.toNumbers(),
          up.toNumbers(),
          alpha,
        ]);
      }
    });
  });

  test("share a down matrix where the file has one full up matrix, and are written as that again", () => {
    scope(() => {
      const whole = weights(11, 3, 2, 1);
      const split = splitFused(new Map([["t.fused", whole]]), FUSED, "file");
      expect([...split.keys()]).toEqual(["t.q", "t.k", "t.mlp"]);
      close(cat([...split.values()].map(({ up }) => up)).toNumbers(), whole.up.toNumbers());
      const joined = joinFused(split, FUSED).get("t.fused");
      expect([joined?.down.toNumbers(), joined?.up.toNumbers(), joined?.alpha]).toEqual([
        whole.down.toNumbers(),
        whole.up.toNumbers(),
        2,
      ]);
    });
  });

  test("of a norm whose halves are the other way round have their rows exchanged, both ways", () => {
    scope(() => {
      const whole = weights(4, 2, 2, 1);
      const split = splitFused(new Map([["t.norm", whole]]), FUSED, "file");
      const [top, bottom] = whole.up.chunk(2, 0) as [Tensor, Tensor];
      expect(split.get("t.ours")?.up.toNumbers()).toEqual(cat([bottom, top]).toNumbers());
      expect(joinFused(split, FUSED).get("t.norm")?.up.toNumbers()).toEqual(whole.up.toNumbers());
    });
  });
});

test("rows that do not fit the map, and a layer that has two adapters, are refused by name", () => {
  scope(() => {
    const wrong = new Map([["t.fused", weights(10, 2, 2, 1)]]);
    expect(refusal(() => splitFused(wrong, FUSED, "file"))).toContain(
      "fused has 10 rows, and the model's map 11",
    );
    const twice = new Map([
      ["t.q", { down: zeros([1, 4]), up: zeros([3, 1]), alpha: 1 }],
      ["t.fused", weights(11, 2, 2, 1)],
    ]);
    expect(refusal(() => splitFused(twice, FUSED, "file"))).toContain("two adapters of t.q");
  });
});
