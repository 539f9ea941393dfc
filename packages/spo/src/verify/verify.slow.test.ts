import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { checksAskedFor, missingFiles, openGoldenSet } from "@spo/diffusion";
import { describe, expect, test } from "vitest";
import { spoChecks } from "./verify.js";

const pathOf = (place: string): string => fileURLToPath(new URL(`../../../../${place}`, import.meta.url));

// The repository's own small models, of which every file is there; and larger ones where they stand beside it.
const SETS: [name: string, folder: string][] = [
  ["our small models", pathOf("tests/golden/small")],
  ["given fixtures", process.env.SPO_FIXTURES ?? pathOf("../shared/fixtures")],
  ["given fixtures of flow models", pathOf("../shared/fixtures-flow")],
];

for (const [name, folder] of SETS) {
  describe.skipIf(name.startsWith("given") && !existsSync(folder))(`golden values of Python, ${name}`, () => {
    const set = openGoldenSet(folder);
    const checks = checksAskedFor(set, spoChecks);

    test("has all files that it is asked for", () => {
      expect(checks.flatMap((check) => missingFiles(set, check))).toEqual([]);
    });

    for (const check of checks) {
      test(`${check.name} agree`, async () => {
        const cases = await check.run(set.folder, set.base);
        expect(cases.length).toBeGreaterThan(0);
        expect(cases.filter(({ maxError, tolerance }) => !(maxError <= tolerance))).toEqual([]);
      });
    }
  });
}
