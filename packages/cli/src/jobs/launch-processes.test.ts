// Real processes, small ones.
import { expect, test } from "vitest";
import { launchProcesses } from "./launch-processes.js";

/** Runs a piece of JavaScript in each of several processes. */
async function launch(nproc: number, script: string, patience?: number) {
  const lines: string[] = [];
  const code = await launchProcesses({
    plan: { nproc, nnodes: 1, nodeRank: 0, sources: [] },
    facts: { env: { PATH: process.env.PATH }, gpus: 0, cores: 1 },
    command: [process.execPath, "-e", `const rank = Number(process.env.RANK);${script}`],
    say: (line) => lines.push(line),
    patience,
  });
  return { code, lines };
}

test("each process is told its rank and one free port, and what the others print is told with their rank", async () => {
  const { code, lines } = await launch(
    3,
    "if (rank) console.log(process.env.WORLD_SIZE, process.env.MASTER_PORT)",
  );
  expect(code).toBe(0);
  const found = lines.map((line) => /^\[rank ([12])\] 3 (\d+)$/.exec(line));
  expect(found.map((of) => of?.[1]).sort()).toEqual(["1", "2"]);
  expect(new Set(found.map((of) => of?.[2])).size).toBe(1);
  expect(Number(found[0]?.[2])).toBeGreaterThan(0);
});

test("when one ends badly the others are stopped once, and the exit code is the first one's", async () => {
  const script = `
    if (rank === 1) process.exit(6);
    let told = 0;
    process.on("SIGTERM", () => { told++; setTimeout(() => process.exit(10 + told), 50); });
    setInterval(() => {}, 1000);`;
  const { code, lines } = await launch(
    3,
    script.replace("process.exit(6)", "setTimeout(() => process.exit(6), 100)"),
  );
  expect(code).toBe(6);
  expect(lines).toContain("rank 1 ended with exit code 6");
});

test("one that does not heed the signal is killed when its time is over, and a killed one counts as bad", async () => {
  const script = `
    process.on("SIGTERM", () => {});
    setInterval(() => {}, 1000);
    if (rank === 1) setTimeout(() => process.kill(process.pid, "SIGKILL"), 100);`;
  const { code } = await launch(2, script, 300);
  expect(code).toBe(137);
});

test("a signal is handed on to all, and the launch ends as they do", async () => {
  const ended = launch(
    2,
    'process.on("SIGHUP", () => process.exit(129)); setInterval(() => {}, 1000); if (rank) console.log("up")',
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  process.emit("SIGHUP", "SIGHUP");
  expect((await ended).code).toBe(129);
});

test("a program that is not there is named, and is not said to have ended", async () => {
  const lines: string[] = [];
  const never = launchProcesses({
    plan: { nproc: 2, nnodes: 1, nodeRank: 0, sources: [] },
    facts: { env: {}, gpus: 0, cores: 1 },
    command: ["no-such-program"],
    say: (line) => lines.push(line),
  });
  await expect(never).rejects.toThrow(
    expect.objectContaining({ code: "ENVIRONMENT", message: expect.stringContaining("no-such-program") }),
  );
  await new Promise((resolve) => setTimeout(resolve, 100)); // the ends come after the errors
  expect(lines).toEqual([]);
});
