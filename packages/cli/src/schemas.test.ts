import { EXAMPLE_SCHEMAS } from "@spo/example-emoji/schemas";
import { checkConfig } from "@spo/records/config";
import { SCHEMAS, TrainSpoConfig } from "spo/schemas";
import { expect, test } from "vitest";
import type { z } from "zod";

/** The parts of a schema that hold others. */
interface Def {
  type: string;
  shape?: Record<string, z.ZodType>;
  innerType?: z.ZodType;
  in?: z.ZodType;
  element?: z.ZodType;
  valueType?: z.ZodType;
  items?: z.ZodType[];
  options?: z.ZodType[];
}

/** Path and schema of each number within a schema. */
function numbersOf(schema: z.ZodType, path: string): [string, z.ZodType][] {
  const def = schema.def as unknown as Def;
  if (def.type === "number") return [[path, schema]];
  const inner = [
    def.innerType,
    def.in,
    def.element,
    def.valueType,
    ...(def.items ?? []),
    ...(def.options ?? []),
  ];
  return [
    ...inner.flatMap((of) => (of ? numbersOf(of, path) : [])),
    ...Object.entries(def.shape ?? {}).flatMap(([key, of]) => numbersOf(of, `${path}.${key}`)),
  ];
}

const numbers = Object.entries({ ...SCHEMAS, ...EXAMPLE_SCHEMAS }).flatMap(([kind, schema]) =>
  numbersOf(schema, kind),
);

test("every number of every recipe's settings has a bound on either side", () => {
  expect(numbers.length).toBeGreaterThan(120);
  const unbounded = numbers.filter(([, schema]) =>
    [1e300, -1e300, Number.MAX_VALUE, Number.POSITIVE_INFINITY].some(
      (value) => schema.safeParse(value).success,
    ),
  );
  expect(unbounded.map(([path]) => path)).toEqual([]);
});

test("counts end where memory or time would: no count but a seed is as large as a number can be", () => {
  const endless = numbers.filter(([, schema]) => schema.safeParse(Number.MAX_SAFE_INTEGER).success);
  const others = endless.filter(
    ([path, schema]) => !/seeds?$/.test(path) && schema.safeParse(1.5).success === false,
  );
  expect(others.map(([path]) => path)).toEqual([]);
});

test("a number beyond its bound is refused in words, and without making anything of that size", () => {
  const config = { model: "m", prompts: "p", output: "o" };
  for (const [key, value] of [
    ["promptsPerRound", 2 ** 53 - 1],
    ["candidates", 1e9],
    ["steps", 1e9],
    ["rank", 1e9],
  ] as const)
    expect(() => checkConfig(TrainSpoConfig, { ...config, [key]: value })).toThrow(
      expect.objectContaining({ code: "CONFIG", message: expect.stringMatching(new RegExp(`${key} .*<=`)) }),
    );
});
