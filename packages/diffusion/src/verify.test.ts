import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { diffusionChecks } from "./verify.js";

const fixtures =
  process.env.SPO_FIXTURES ?? fileURLToPath(new URL("../../../../shared/fixtures", import.meta.url));

describe.skipIf(!existsSync(fixtures))("golden values of the Python reference", () => {
  for (const check of diffusionChecks) {
    test.skipIf(!check.files.every((file) => existsSync(join(fixtures, file))))(
      `${check.name} agree`,
      async () => {
        const cases = await check.run(fixtures);
        expect(cases.length).toBeGreaterThan(0);
        expect(cases.filter(({ maxError, tolerance }) => !(maxError <= tolerance))).toEqual([]);
      },
    );
  }
});
