import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, type TextToImage } from "@spo/diffusion";
import { liveTensors, noGrad, rehearse, scope } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { saveTinySd3 } from "../../tiny-sd3.fixture.js";
import { inTurn, textEncodersOf } from "./encoders-in-turn.js";

const folder = mkdtempSync(join(tmpdir(), "encoders-in-turn-"));
beforeAll(() => saveTinySd3(folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const encode = (pipe: TextToImage) => pipe.encode(["a red fox"], { size: [16, 16] }).conditional;
const numbersOf = (pipe: TextToImage): number[][] =>
  noGrad(() => scope(() => Object.values(encode(pipe)).map((value) => value.toNumbers())));
const devicesOf = (pipe: TextToImage): string[][] =>
  textEncodersOf(pipe).map((encoder) => [...new Set(encoder.parameters().map(({ device }) => device))]);

test("the device holds the encoder that reads, no other, and none in the end, whose values are as before", () => {
  const pipe = loadTextToImage(folder);
  const numbers = numbersOf(pipe);
  const live = liveTensors();
  const seen: string[][][] = [];
  for (const encoder of textEncodersOf(pipe)) {
    const { forward } = encoder;
    Object.assign(encoder, {
      forward: (...args: unknown[]) => {
        seen.push(devicesOf(pipe));
        return Reflect.apply(forward, encoder, args);
      },
    });
  }
  inTurn(textEncodersOf(pipe), "meta", () =>
    rehearse(() =>
      scope(() => {
        for (const { device } of Object.values(encode(pipe))) expect(device).toBe("meta");
      }),
    ),
  );
  const [first, second] = [
    [["meta"], ["cpu"]],
    [["cpu"], ["meta"]],
  ];
  expect(seen).toEqual([first, second, first, second]); // without a prompt, then with it
  expect(devicesOf(pipe)).toEqual([["cpu"], ["cpu"]]);
  expect(liveTensors()).toBe(live);
  expect(numbersOf(pipe)).toEqual(numbers);
});

test("a fault leaves all encoders on the CPU", () => {
  const pipe = loadTextToImage(folder);
  const encodeAndFail = (): void => {
    rehearse(() => scope(() => void encode(pipe)));
    throw new Error("no luck");
  };
  expect(() => inTurn(textEncodersOf(pipe), "meta", encodeAndFail)).toThrow("no luck");
  expect(devicesOf(pipe)).toEqual([["cpu"], ["cpu"]]);
});
