// Small programs in a training's place: they print its events, and take as long as they are told.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { canBeTried, fastestLayout, layoutsOf } from "./fastest-layout.js";

/** Finds the fastest layout on 4 cores of a program. script: may use size, threads, and step(n, seconds since the start). */
async function find(script: string, { env = {}, memory }: { env?: NodeJS.ProcessEnv; memory?: number } = {}) {
  const lines: string[] = [];
  const head = `
    const { RANK, WORLD_SIZE: size, OMP_NUM_THREADS: threads } = process.env;
    const step = (step, wall) => RANK === "0" && console.log(
      JSON.stringify({ type: "step", step, total: 9, metrics: {}, time: { at: "", wall, cpu: 0, rss: 1e9 } }));`;
  const found = await fastestLayout({
    command: [process.execPath, "-e", `${head}${script}`, "--"],
    facts: { env: { PATH: process.env.PATH, ...env }, gpus: 0, cores: 4 },
    say: (line) => lines.push(line.replace("launch: ", "")),
    memory,
  });
  return { found, lines };
}

const ENDLESS = "setInterval(() => {}, 1000);";

test("cores are shared out evenly", () => {
  expect(layoutsOf(6)).toEqual([
    { processes: 1, threads: 6 },
    { processes: 2, threads: 3 },
    { processes: 3, threads: 2 },
    { processes: 6, threads: 1 },
  ]);
  expect(layoutsOf(6, 2).map(({ processes }) => processes)).toEqual([1, 3]);
  expect(layoutsOf(2, 4)).toEqual([{ processes: 1, threads: 4 }]);
});

test.each([
  ["spo train spo my.json --run r", true],
  ["npx spo train dpo --run=r", true],
  ["spo train spm my.json", false],
  ["spo train spo --run r --dry-run", false],
  ["spo train votes set --run r", false],
  ["spo sample x --model m", false],
  ["python train.py --run r", false],
])("whether %s can be tried: %s", (line, can) => {
  expect(canBeTried(line.split(" "))).toBe(can);
});

test("the layout whose steps after the first take least is taken, and what each took is told; updates of one round count once", async () => {
  const { found, lines } = await find(
    `for (const n of [1, 1, 2, 3]) step(n, n === 1 ? 50 : 50 + n * { 1: 3, 2: 1, 4: 2 }[size]);${ENDLESS}`,
  );
  expect(found).toEqual({ processes: 2, threads: 2 });
  expect(lines).toEqual([
    "1 process with 4 threads: 4.5 s a step",
    "2 processes with 2 threads: 1.5 s a step",
    "4 processes with 1 thread: 3 s a step",
  ]);
});

test("a layout that fails or that memory does not hold is left out, and threads that are given are kept", async () => {
  const { found, lines } = await find(
    `if (size === "2") process.exit(3); for (const n of [1, 2, 3]) step(n, n / size);${ENDLESS}`,
    { env: { OMP_NUM_THREADS: "1" }, memory: 3e9 },
  );
  expect(found).toEqual({ processes: 1, threads: 1 });
  expect(lines).toEqual([
    "1 process with 1 thread: 1 s a step",
    "2 processes with 1 thread: ended with exit code 3 before its third step",
    "4 processes with 1 thread: not tried, 1.0 GB a process are more than there is",
  ]);
});

test("what ends before its third step is left to one process; a signal ends the search at once", async () => {
  expect(await find("step(1, 1)")).toEqual({
    found: { processes: 1, threads: 4 },
    lines: ["1 process with 4 threads: ended with exit code 0 before its third step"],
  });
  const stopped = find(`process.on("SIGTERM", () => {}); step(1, 1); step(2, 2);${ENDLESS}`);
  await new Promise((resolve) => setTimeout(resolve, 300));
  process.emit("SIGTERM", "SIGTERM");
  expect((await stopped).found).toEqual({ stopped: 143 });
});

test("each try has a run's folder of its own, which is gone afterwards", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-layout-"));
  try {
    const told = join(folder, "told");
    await find(
      `const [option, run, ...rest] = process.argv.slice(-4);
       require("node:fs").mkdirSync(run);
       require("node:fs").writeFileSync(process.env.TOLD, JSON.stringify({ option, run, rest }));`,
      { env: { TOLD: told } },
    );
    const { option, run, rest } = JSON.parse(readFileSync(told, "utf8"));
    expect([option, ...rest]).toEqual(["--run", "--json", "--quiet"]);
    expect(existsSync(dirname(run))).toBe(false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
