import { expect, test } from "vitest";
import { FaultList } from "./fault-list.js";

test("a fault that holds a value of a million letters is told in few, and grouped at once", () => {
  const faults = new FaultList();
  const cpu = process.cpuUsage();
  for (const line of [1, 2]) faults.add(`line ${line}`, `${"x".repeat(1e6)} does not exist`);
  const { user } = process.cpuUsage(cpu);
  expect(user).toBeLessThan(2e6); // the square of the length took over 6 s for a tenth of these letters
  const [shown = ""] = faults.shown;
  expect(faults.count).toBe(2);
  expect(shown).toMatch(/^line 1; line 2: x+…x+ does not exist$/);
  expect(shown.length).toBeLessThan(600);
});
