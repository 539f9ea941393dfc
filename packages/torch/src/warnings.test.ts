import { expect, test } from "vitest";
import { onWarning, warn } from "./warnings.js";

test("a warning goes to all who listen, and to Node where nobody does", async () => {
  const heard: string[] = [];
  const stops = [onWarning((text) => heard.push(`a ${text}`)), onWarning((text) => heard.push(`b ${text}`))];
  warn("one");
  for (const stop of stops) stop();
  const node = new Promise<Error>((resolve) => process.once("warning", resolve));
  warn("two");
  expect(heard).toEqual(["a one", "b one"]);
  expect(await node).toMatchObject({ name: "SpoWarning", message: "two" });
});
