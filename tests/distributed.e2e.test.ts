// Real processes on this machine's loopback.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { freePort, type RankEnd, startRank } from "./ranks.fixture.js";

const program = fileURLToPath(new URL("rank.mjs", import.meta.url));

/** Starts the ranks of a scenario. */
async function start(scenario: string, ranks: readonly number[], { size = ranks.length, timeout = 60_000 }) {
  const port = await freePort();
  return ranks.map((rank) => startRank(program, [scenario, rank, size, port, timeout].map(String)));
}

const ends = async (scenario: string, ranks: readonly number[], options = {}): Promise<RankEnd[]> =>
  Promise.all((await start(scenario, ranks, options)).map(({ ended }) => ended));

test.each([2, 3])(
  "%i processes add, gather and hand on tensors of several dtypes and orders, and values",
  async (size) => {
    const ranks = [...Array(size).keys()];
    const found = await ends("collectives", ranks);
    const sumOf = (of: (rank: number) => number): number => ranks.reduce((sum, rank) => sum + of(rank), 0);
    for (const { code, output } of found) {
      const told = JSON.parse(output);
      expect(told).toEqual({
        sum: [sumOf((r) => r + 1), Math.fround(sumOf((r) => Math.fround(0.1 * r)))],
        half: [sumOf((r) => r + 0.5)],
        columns: [sumOf((r) => r), 2 * size, size, 3 * size],
        all: [[size, 2], ranks.flatMap((r) => [r, 0 - r])],
        one: [(size - 1) * 7],
        values: ranks.map((rank) => ({ rank, text: "é".repeat(rank), nan: null })),
      });
      expect(code).toBe(0);
    }
  },
);

test("settings that differ end every process, and each names the setting and the rank", async () => {
  for (const { code, output } of await ends("settings", [0, 1, 2])) {
    expect(output).toContain(
      "CONFIG: The processes do not have the same settings.\n  seed: rank 0 has 0, rank 2 has 1",
    );
    expect(code).toBe(1);
  }
});

test("a rank that never comes is named when the time is over, by all others", async () => {
  const [first, second] = await ends("collectives", [0, 1], { size: 3, timeout: 3000 });
  expect(first?.output).toContain("RESOURCE: Rank 0 of 3 waited 3 s at the start; rank 2 did not come.");
  expect([first?.code, second?.code]).toEqual([1, 1]);
});

test.each([0, 1, 2])(
  "when rank %i is killed, the others end long before their time is over and name it",
  async (victim) => {
    const ranks = await start("endless", [0, 1, 2], { timeout: 300_000 });
    await Promise.all(ranks.map(({ printed }) => printed("ready")));
    ranks[victim]?.child.kill("SIGKILL");
    for (const [rank, { ended, child }] of ranks.entries()) {
      if (rank === victim) continue;
      const { code, output } = await ended;
      expect(output).toMatch(
        new RegExp(
          `RESOURCE: Rank ${rank} of 3 cannot go on: rank ${victim} \\(process ${ranks[victim]?.child.pid}\\) gives no sign of life`,
        ),
      );
      expect([code, child.exitCode]).toEqual([1, 1]);
    }
  },
);

test("a rank that is alive and late is not called dead", async () => {
  const [first] = await ends("absent", [0, 1, 2], { timeout: 3000 });
  expect(first?.output).toMatch(
    /RESOURCE: Rank 0 of 3 waited 3 s at the save; rank 1 \(process \d+\) did not come\./,
  );
});
