import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Run } from "./run.js";
import { tfSessionStart, tfSummary } from "./tf-events.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-tensorboard-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const open = (): Run => Run.open(join(root, "run"), { kind: "train spo", config: {} });
/** What the files of updates or measurements hold, the oldest first. */
const filesOf = (name: string): Buffer[] => {
  const folder = join(root, "run", "tensorboard", name);
  return readdirSync(folder).map((file) => readFileSync(join(folder, file)));
};
const at = (run: Run, type: string): number =>
  Date.parse(run.events().findLast((event) => event.type === type)?.time.at ?? "") / 1000;

test("a run writes its metrics and samples as it goes, updates by their number and measurements by their step", () => {
  using run = open();
  expect(existsSync(join(run.folder, "tensorboard"))).toBe(false);
  run.step(1, 9, { loss: 0.5 });
  run.step(1, 9, { loss: Number.NaN });
  expect(
    filesOf("updates")[0]?.includes(tfSummary(at(run, "step"), 2, [{ tag: "loss", value: Number.NaN }])),
  ).toBe(true);
  run.eval(1, { score: 3 });
  const png = Buffer.alloc(33);
  png.writeUInt32BE(7, 16);
  png.writeUInt32BE(5, 20);
  mkdirSync(join(run.folder, "samples"));
  writeFileSync(join(run.folder, "samples", "0.png"), png);
  const images = ["samples/0.png", "../elsewhere.png"].map((file) => ({ file, prompt: "a cat", seed: 0 }));
  run.record({ type: "sample", step: 1, images });
  const [measured] = filesOf("measurements");
  expect(measured?.includes(tfSummary(at(run, "eval"), 1, [{ tag: "score", value: 3 }]))).toBe(true);
  const picture = { tag: "sample 0: a cat", png, width: 7, height: 5 };
  expect(measured?.includes(tfSummary(at(run, "sample"), 1, [picture]))).toBe(true);
});

test("a run that goes on says from where, so that what was cut is not shown twice", () => {
  const first = open();
  first.step(1, 9, { loss: 1 });
  first.save(1, () => ({}), { wait: true });
  first.step(2, 9, { loss: 2 });
  first.close();
  rmSync(join(root, "run", "tensorboard"), { recursive: true });
  using run = open();
  run.resume(() => {});
  run.step(2, 9, { loss: 3 });
  const [updates] = filesOf("updates");
  const [name] = readdirSync(join(root, "run", "tensorboard", "updates"));
  expect(updates?.includes(tfSessionStart(Number(name?.split(".")[3]), 2))).toBe(true);
  expect(updates?.includes(tfSummary(at(run, "step"), 2, [{ tag: "loss", value: 3 }]))).toBe(true);
});

test("where it cannot be written the run goes on", () => {
  using run = open();
  writeFileSync(join(run.folder, "tensorboard"), "a file in its place");
  run.step(1, 9, { loss: 0.5 });
  expect(run.events().at(-1)?.type).toBe("step");
});
