import { expect, test } from "vitest";
import { z } from "zod";
import { schemaFaults } from "./schema-faults.js";

const Row = z.object({ id: z.string(), scores: z.array(z.number()) });

const faultsOf = (value: unknown): string => {
  const { error } = Row.safeParse(value);
  return error ? schemaFaults(error) : "";
};

test("faults are told with their places, and what is missing is called that", () => {
  expect(faultsOf({ scores: [1, "a"] })).toBe(
    "id: missing, expected string; scores.1: expected number, received string",
  );
  expect(faultsOf(null)).toBe("expected object, received null");
  expect(faultsOf({ id: "", scores: Array.from({ length: 9 }, () => null) }).split("; ")).toHaveLength(3);
  expect(faultsOf({ id: "", scores: [] })).toBe("");
});
