import { settingsOf } from "@spo/records/config";
import { expect, test } from "vitest";
import { SCHEMAS } from "../schemas.js";

test("every setting has a description", () => {
  for (const [name, schema] of Object.entries(SCHEMAS))
    for (const { path, description } of settingsOf(schema))
      expect(description, `${name} ${path}`).toBeTruthy();
});
