import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { diffusionChecksOf } from "./verify.js";

const given =
  process.env.SPO_FIXTURES ?? fileURLToPath(new URL("../../../../../shared/fixtures", import.meta.url));
const own = fileURLToPath(new URL("../../../../tests/golden/small", import.meta.url));

// The repository's own small models, of which every file is there; and larger ones where they stand beside it.
for (const fixtures of [own, given]) {
  describe.skipIf(fixtures === given && !existsSync(given))(
    `golden values of Python, ${fixtures === own ? "our small models" : "given fixtures"}`,
    () => {
      for (const check of diffusionChecksOf(fixtures)) {
        test.skipIf(fixtures === given && !check.files.every((file) => existsSync(join(fixtures, file))))(
          `${check.name} agree`,
          async () => {
            const cases = await check.run(fixtures);
            expect(cases.length).toBeGreaterThan(0);
            expect(cases.filter(({ maxError, tolerance }) => !(maxError <= tolerance))).toEqual([]);
          },
        );
      }
    },
  );
}
