import { expect, test } from "vitest";
import { GridFile, gridPage } from "./grid-page.js";

const grid = GridFile.parse({
  schema: "spo.grid/1",
  axes: [
    { name: "guidance", values: ["3", "5"] },
    { name: "prompt", values: ["<b>cat</b>", "dog"] },
  ],
  images: [0, 1, 2, 3].map((i) => ({
    file: `${i}.png`,
    at: [i % 2, Math.floor(i / 2)],
    parameters: { guidance: [3, 5][i % 2], steps: 20 },
  })),
});

test("each picture stands at its values, and what all share is told once", () => {
  const page = gridPage(grid, (file) => Buffer.from(file));
  const srcOf = (file: string): string => `base64,${Buffer.from(file).toString("base64")}`;
  const places = ["0.png", "1.png", "2.png", "3.png"].map((file) => page.indexOf(srcOf(file)));
  expect(places).toEqual([...places].sort((a, b) => a - b));
  expect(Math.min(...places)).toBeGreaterThan(0);
  expect(page).toContain('alt="guidance 5, prompt dog"');
  expect(page).not.toContain("<b>cat");
  const settings = page.slice(page.indexOf("What all were made with"));
  expect(settings).toContain("steps");
  expect(settings).not.toContain("guidance");
});
