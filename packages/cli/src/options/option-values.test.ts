import { describe, expect, test } from "vitest";
import { memorySize } from "./option-values.js";

describe("an amount of memory", () => {
  test.each([
    ["12GB", 12e9],
    ["12 gb", 12e9],
    ["12G", 12e9],
    ["11.5GiB", 11.5 * 2 ** 30],
    ["800MB", 8e8],
    ["800 MiB", 800 * 2 ** 20],
    ["1TB", 1e12],
  ])("%s is %d bytes", (text, bytes) => {
    expect(memorySize(text)).toBe(bytes);
  });

  test.each(["", "12", "GB", "0GB", "-1GB", "1e3GB", "12XB", "1,5GB", "99999999999TB"])(
    "%j is refused",
    (text) => {
      expect(() => memorySize(text)).toThrow("as 12GB");
    },
  );
});
