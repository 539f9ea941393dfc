import type { StableDiffusion } from "@spo/diffusion";
import { onWarning, UserError } from "@spo/torch";
import { expect, test } from "vitest";
import { saveInHalf } from "./save-in-half.js";

/** A pipeline whose `save` fails for some element types. */
function pipeline(faults: Record<string, Error>): { pipe: StableDiffusion; saved: string[] } {
  const saved: string[] = [];
  const save = (folder: string, { dtype }: { dtype: string }): void => {
    if (faults[dtype]) throw faults[dtype];
    saved.push(`${folder} ${dtype}`);
  };
  return { pipe: { save } as unknown as StableDiffusion, saved };
}
const numeric = (): UserError => new UserError("too large", { code: "NUMERIC", hint: "" });

test("a result is saved in half precision, and in float32 where that does not hold it, with a warning", () => {
  const heard: string[] = [];
  const stop = onWarning((message) => heard.push(message));
  try {
    const half = pipeline({});
    saveInHalf(half.pipe, "out");
    expect([half.saved, heard]).toEqual([["out float16"], []]);
    const whole = pipeline({ float16: numeric() });
    saveInHalf(whole.pipe, "out");
    expect(whole.saved).toEqual(["out float32"]);
    expect(heard).toEqual([expect.stringContaining("too large for float16")]);
  } finally {
    stop();
  }
});

test("a result with NaN, and any other fault, is refused", () => {
  const broken = pipeline({ float16: numeric(), float32: numeric() });
  expect(() => saveInHalf(broken.pipe, "out")).toThrow("too large");
  const full = pipeline({ float16: new Error("disk") });
  expect(() => saveInHalf(full.pipe, "out")).toThrow("disk");
  expect([...broken.saved, ...full.saved]).toEqual([]);
});
