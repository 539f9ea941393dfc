import { VpSchedule } from "@spo/diffusion";
import { expect, test } from "vitest";
import { requireSpread } from "./step-spread.js";

test("a schedule that ends at timestep 0 is refused by the setting that makes it so, and one that ends at 1 is not", () => {
  const of = (offset: number): VpSchedule => new VpSchedule({ steps_offset: offset });
  for (const steps of [4, 20, 50]) {
    expect(() => requireSpread(of(1), { steps, firstBranch: 0 })).not.toThrow();
    // Where no candidate takes the last step, there is nothing to refuse.
    expect(() => requireSpread(of(0), { steps, firstBranch: 0, lastBranch: steps - 2 })).not.toThrow();
    expect(() => requireSpread(of(0), { steps, firstBranch: 0 })).toThrow(
      expect.objectContaining({
        code: "CONFIG",
        message: expect.stringContaining("from timestep 0"),
        hint: expect.stringContaining("steps_offset"),
      }),
    );
  }
});
