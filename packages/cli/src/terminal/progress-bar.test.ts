import { expect, test } from "vitest";
import { clock, ProgressBar } from "./progress-bar.js";

function recorded(isTTY: boolean, { quiet = false, columns = 60 } = {}) {
  const sink = {
    isTTY,
    columns,
    text: "",
    write(part: string) {
      sink.text += part;
    },
  };
  const time = { now: 0 };
  const bar = new ProgressBar({ out: sink, quiet, now: () => time.now, env: {} });
  return { sink, time, bar };
}

test("on a terminal one line is drawn again, with the time that is left, and no wider than the terminal", () => {
  const { sink, time, bar } = recorded(true);
  bar.advance({ stage: "training", done: 0, total: 10 });
  time.now = 4;
  bar.advance({ stage: "training", done: 2, total: 10, detail: "x".repeat(100) });
  const lines = sink.text.split("\r\x1b[2K");
  expect(sink.text).not.toContain("\n");
  expect(lines.at(-1)).toMatch(/^training {2}████░+ {2}20 % {2}0:16 left {2}x+…$/);
  expect(lines.at(-1)?.length).toBeLessThan(60);
});

test("cleared, the line is empty for what another stream writes, and drawn again at once after it", () => {
  const { sink, time, bar } = recorded(true);
  bar.advance({ stage: "sampling", done: 1, total: 10 });
  bar.clear();
  expect(sink.text.endsWith("\r\x1b[2K")).toBe(true);
  time.now = 0.01;
  bar.advance({ stage: "sampling", done: 2, total: 10 });
  expect(sink.text).toMatch(/20 %.*$/);
});

test("elsewhere plain lines come seldom, and the last one when the stage is over", () => {
  const { sink, time, bar } = recorded(false);
  for (let done = 1; done <= 100; done++) {
    time.now = done / 2;
    bar.advance({ stage: "training", done, total: 100 });
  }
  bar.advance({ stage: "measuring", done: 1, total: 2 });
  bar.end();
  expect(sink.text).not.toContain("\r");
  expect(sink.text.split("\n")).toEqual([
    "training    1 %  1 of 100  0:00",
    "training   41 %  41 of 100  0:20, 0:30 left",
    "training   81 %  81 of 100  0:40, 0:10 left",
    "training  100 %  100 of 100  0:50",
    "measuring   50 %  1 of 2  0:00",
    "measuring   50 %  1 of 2  0:00",
    "",
  ]);
});

test("a resumed stage reckons the time left from where it started", () => {
  const { sink, time, bar } = recorded(true);
  bar.advance({ stage: "training", done: 90, total: 100 });
  time.now = 10;
  bar.advance({ stage: "training", done: 95, total: 100 });
  expect(sink.text).toContain("95 %  0:10 left");
});

test("quiet leaves out progress and keeps words", () => {
  const { sink, bar } = recorded(false, { quiet: true });
  bar.advance({ stage: "training", done: 1, total: 2 });
  bar.say("warning: hot");
  bar.end();
  expect(sink.text).toBe("warning: hot\n");
});

test("times are written as clocks", () => {
  expect([0, 59.6, 75, 3700].map(clock)).toEqual(["0:00", "1:00", "1:15", "1:01:40"]);
});

test("what comes from outside is shown in the bar and in words above it, and one line stays one", () => {
  const { sink, bar } = recorded(true, { columns: 100 });
  bar.advance({ stage: "drawing \x1b[2J", done: 1, total: 2, detail: "a\n\x9bb" });
  bar.say("warning: \x1b]0;title\x07");
  expect(sink.text.replaceAll("\r\x1b[2K", "")).toMatch(
    /^drawing \\x1b\[2J {2}.* 50 % {2}a\\n\\x9bbwarning: \\x1b\]0;title\\x07\n$/,
  );
});

test("a stage that has nothing to count yet says what it does, from its first moment", () => {
  for (const isTTY of [true, false]) {
    const { sink, time, bar } = recorded(isTTY, { columns: 80 });
    bar.advance({ stage: "train spo", done: 0, total: 0, doing: "loading the model" });
    expect(sink.text).toMatch(
      isTTY ? /train spo {2}loading the model$/ : /^train spo {2}0:00 {2}loading the model\n$/,
    );
    time.now = 30;
    bar.advance({
      stage: "train spo",
      done: 2.4,
      total: 10,
      left: null,
      detail: "loss 0.7",
      doing: "sampling, step 7 of 20",
    });
    expect(sink.text).toMatch(
      isTTY
        ? / 24 % {2}sampling, step 7 of 20$/
        : /train spo {3}24 % {2}2 of 10 {2}0:30 {2}sampling, step 7 of 20\n$/,
    );
    time.now = 60;
    bar.advance({ stage: "train spo", done: 2.5, total: 10, left: 75, detail: "loss 0.7" });
    expect(sink.text).toMatch(/ 25 % .*1:15 left {2}loss 0.7\n?$/);
  }
});
