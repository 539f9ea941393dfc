import { expect, test } from "vitest";
import { settingsOf } from "../config/index.js";
import { SCHEMAS } from "./schemas.js";

test("every setting has a description", () => {
  for (const [name, schema] of Object.entries(SCHEMAS))
    for (const { path, description } of settingsOf(schema))
      expect(description, `${name} ${path}`).toBeTruthy();
});
