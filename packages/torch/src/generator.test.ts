import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  empty,
  Generator,
  multinomial,
  rand,
  randint,
  randn,
  randperm,
  scope,
  tensor,
  zeros,
} from "./index.js";

interface Golden {
  torch: string;
  cases: { seed: number; [drawn: string]: number | number[] }[];
  manual_seed_7: number[];
}
// Made by golden/generator.py with Python's torch.
const golden: Golden = JSON.parse(readFileSync(new URL("../golden/generator.json", import.meta.url), "utf8"));

/** Normal numbers go through vector code that differs between processors in the last bits. */
function close(ours: readonly number[], theirs: readonly number[]): void {
  expect(ours.length).toBe(theirs.length);
  for (const [i, value] of theirs.entries()) expect(Math.abs((ours[i] as number) - value)).toBeLessThan(2e-6);
}

test.each(golden.cases)("seed $seed draws what Python's torch draws, in the same order", (theirs) =>
  scope(() => {
    const generator = new Generator(theirs.seed);
    const list = (name: string): number[] => theirs[name] as number[];
    close(randn([5], { generator }).toNumbers(), list("randn5"));
    close(randn([37], { generator }).toNumbers(), list("randn37"));
    expect(rand([6], { generator }).toNumbers()).toEqual(list("rand6"));
    expect(randint(-500, 1000, [8], { generator }).toNumbers()).toEqual(list("randint8"));
    expect(randperm(10, { generator }).toNumbers()).toEqual(list("randperm10"));
    expect(empty([3], { dtype: "float64" }).uniform_(-2, 3, { generator }).toNumbers()).toEqual(
      list("uniform3"),
    );
    expect(multinomial(tensor([0.1, 0.2, 0.3, 0.4]), 4, true, { generator }).toNumbers()).toEqual(
      list("multinomial4"),
    );
    close(zeros([3]).normal_(5, 0.5, { generator }).toNumbers(), list("normal3"));
  }),
);

test("a seed is what torch.manual_seed is", () =>
  scope(() => {
    close(randn([4], { generator: new Generator(7) }).toNumbers(), golden.manual_seed_7);
  }));

test("a restored state goes on with the same numbers, in another generator too", () =>
  scope(() => {
    const generator = new Generator(3);
    randn([5], { generator });
    const state = generator.state();
    const next = randn([40], { generator }).toNumbers();
    generator.setState(state);
    expect(randn([40], { generator }).toNumbers()).toEqual(next);
    expect(randn([40], { generator: new Generator(99).setState(state) }).toNumbers()).toEqual(next);
  }));

test("a state survives as bytes", () =>
  scope(() => {
    const generator = new Generator(3);
    const bytes = generator.state().toTypedArray();
    const next = rand([9], { generator }).toNumbers();
    expect(rand([9], { generator: new Generator(0).setState(tensor(bytes)) }).toNumbers()).toEqual(next);
    expect(() => generator.setState(tensor(new Uint8Array(10)))).toThrow();
  }));

test("generators do not disturb each other, and of a seed the low 32 bits count", () =>
  scope(() => {
    const [a, b] = [new Generator(1), new Generator(1)];
    const alone = rand([6], { generator: new Generator(1) }).toNumbers();
    const mixed = [0, 1, 2].flatMap(() => {
      rand([3], { generator: b });
      return rand([2], { generator: a }).toNumbers();
    });
    expect(mixed).toEqual(alone);
    const first = (seed: number | bigint): number => rand([1], { generator: new Generator(seed) }).item();
    expect(first(2n ** 40n + 5n)).toBe(first(5));
    expect(new Set([0, 1, 2, 2 ** 31].map(first)).size).toBe(4);
    expect(() => new Generator(0.5)).toThrow("expected an integer");
    expect(() => new Generator(1, "nonsense")).toThrow();
  }));
