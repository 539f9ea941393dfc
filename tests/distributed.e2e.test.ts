// Real processes on this machine's loopback, and in network namespaces of their own where the system lets this one make them.
import { spawnSync } from "node:child_process";
import { createServer, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort, type RankEnd, type RankProcess, startRank } from "./ranks.fixture.js";

const program = fileURLToPath(new URL("rank.mjs", import.meta.url));

/** Starts the ranks of a scenario. */
async function start(
  scenario: string,
  ranks: readonly number[],
  { size = ranks.length, timeout = 60_000, port, envs = [], within }: Start = {},
) {
  const at = port ?? (await freePort());
  return ranks.map((rank, i) =>
    startRank(program, [scenario, rank, size, at, timeout].map(String), envs[i], within?.[i]),
  );
}

interface Start {
  size?: number;
  timeout?: number;
  port?: number;
  /** Of each process, beside this one's. */
  envs?: readonly NodeJS.ProcessEnv[];
  /** The network namespace of each process. */
  within?: readonly string[];
}

const ends = async (scenario: string, ranks: readonly number[], options: Start = {}): Promise<RankEnd[]> =>
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

test("different backends are refused, and NCCL for tensors of the CPU", async () => {
  const nccl = { SPO_DISTRIBUTED_BACKEND: "nccl" };
  for (const { output } of await ends("settings", [0, 1], { envs: [nccl, {}] }))
    expect(output).toContain('variables.\n  SPO_DISTRIBUTED_BACKEND: rank 0 has "nccl", rank 1 has none');
  for (const { output } of await ends("settings", [0, 1], { envs: [nccl, nccl] }))
    expect(output).toContain("CONFIG: NCCL carries tensors of GPUs, and rank 0 computes on cpu.");
});

test("a rank that never comes is named when the time is over, by all others", async () => {
  const [first, second] = await ends("collectives", [0, 1], { size: 3, timeout: 3000 });
  // Whose time is over first tells the other, which may say it so.
  for (const end of [first, second])
    expect(end?.output).toMatch(/RESOURCE: .*Rank [01] of 3 waited 3 s at the start; rank 2 did not come\./);
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

test("ranks meet in a store that an agent holds, and meet anew there when they are started again", async () => {
  const port = await freePort();
  const [agent] = (await start("agent", [0], { size: 2, port })) as [RankProcess];
  try {
    await agent.printed("ready");
    const envs = (attempt: string): NodeJS.ProcessEnv[] => [0, 1].map(() => ({ ATTEMPT: attempt }));
    const [first, second] = (await start("endless", [0, 1], { port, envs: envs("0") })) as [
      RankProcess,
      RankProcess,
    ];
    await Promise.all([first, second].map(({ printed }) => printed("ready")));
    first.child.kill("SIGKILL");
    const { output } = await second.ended;
    expect(output).toContain(
      `Rank 1 of 2 cannot go on: rank 0 (process ${first.child.pid}) gives no sign of life.`,
    );
    const again = await ends("collectives", [0, 1], { port, envs: envs("1") });
    expect(again.map(({ code }) => code)).toEqual([0, 0]);
  } finally {
    agent.child.kill("SIGKILL");
  }
});

test("a rank that is alive and late is not called dead", async () => {
  const [first] = await ends("absent", [0, 1, 2], { timeout: 3000 });
  expect(first?.output).toMatch(
    /RESOURCE: Rank 0 of 3 waited 3 s at the save; rank 1 \(process \d+\) did not come\./,
  );
});

test("a rank that is stopped and goes on within the time changes nothing", async () => {
  const [first, second] = (await start("counting", [0, 1], {})) as [RankProcess, RankProcess];
  await second.printed("ready");
  second.child.kill("SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  second.child.kill("SIGCONT");
  for (const rank of [first, second]) {
    const { code, output } = await rank.ended;
    expect([code, output.trim().split("\n").at(-1)]).toEqual([0, '{"sum":180}']);
  }
});

test("a rank that stays stopped is named when the time is over, and not before", async () => {
  const timeout = 3000;
  const [first, second] = (await start("endless", [0, 1], { timeout })) as [RankProcess, RankProcess];
  try {
    await second.printed("ready");
    second.child.kill("SIGSTOP");
    const stopped = performance.now();
    const { code, output } = await first.ended;
    expect(performance.now() - stopped).toBeGreaterThan(timeout - 500); // a reduction may have been under way
    expect([code, output]).toEqual([1, expect.stringContaining("rank 1 (process")]);
  } finally {
    second.child.kill("SIGKILL");
  }
});

test("the event loop goes on while 75 MB are added up", async () => {
  for (const { code, output } of await ends("drift", [0, 1])) {
    expect(code, output).toBe(0);
    const { drift, took } = JSON.parse(output);
    // 50 ms on a free machine. On a busy one all takes longer; a loop that stood still would have drifted for all of it.
    expect(drift).toBeLessThan(Math.max(50, took / 2));
  }
});

test("a rank that is taken twice, a port in use and a host without an address are each named", async () => {
  const twice = await ends("collectives", [0, 1, 1], { size: 3, timeout: 3000 });
  expect(twice.map(({ code }) => code)).toEqual([1, 1, 1]);
  expect(twice.map(({ output }) => output).join("")).toMatch(
    /CONFIG: Rank 1 is taken twice: another process at 127\.0\.0\.1:\d+ has it too\./,
  );
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const [holder] = await ends("collectives", [0], { size: 2, port });
  server.close();
  expect(holder?.output).toContain(`rank 0 of 2 cannot hold the store: port ${port} is in use`);
  const [lost] = await ends("collectives", [1], { size: 2, envs: [{ HOST: "no-such-host.invalid" }] });
  expect(lost?.output).toContain("ENVIRONMENT: rank 1 of 2 finds no way to no-such-host.invalid");
});

test.each([
  [2, 3],
  [3, 2],
])(
  "processes of which rank 0 is one of %i and rank 1 one of %i end, and each names both numbers",
  async (of0, of1) => {
    const port = await freePort();
    const [[first], [second]] = await Promise.all([
      ends("collectives", [0], { size: of0, port, timeout: 20_000 }),
      ends("collectives", [1], { size: of1, port, timeout: 20_000 }),
    ]);
    for (const end of [first, second]) {
      expect(end?.output).toContain(`same number of processes: rank 0 has ${of0}, rank 1 has ${of1}.`);
      expect(end?.code).toBe(1);
    }
  },
);

test("what listens at rank 0's port and is silent, or speaks otherwise, is told when the time is over", async () => {
  for (const [answer, words] of [
    [undefined, "what listens there does not answer"],
    ["HTTP/1.1 400 Bad Request\r\n\r\n", "another program answers there"],
  ] as const) {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket.on("error", () => {}));
      if (answer) socket.write(answer);
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const [lost] = await ends("collectives", [1], { size: 2, port, timeout: 2000 });
    for (const socket of sockets) socket.destroy();
    server.close();
    expect(lost?.output).toContain(
      `ENVIRONMENT: rank 1 of 2 does not reach rank 0 at 127.0.0.1:${port}: ${words}.`,
    );
    expect(lost?.code).toBe(1);
  }
});

/** Two machines, as far as addresses and links go. */
const NAMESPACES = ["spo-e2e-0", "spo-e2e-1"] as const;
const ADDRESSES = ["10.213.77.1", "10.213.77.2"] as const;
const ip = (line: string): boolean => spawnSync("ip", line.split(" ")).status === 0;
for (const name of NAMESPACES) ip(`netns del ${name}`); // those of a test that was killed
const MAY_ISOLATE = ip(`netns add ${NAMESPACES[0]}`);
if (MAY_ISOLATE) ip(`netns del ${NAMESPACES[0]}`);
else
  console.warn("network namespaces cannot be made here (root and `ip` are needed): their tests are skipped");

describe.skipIf(!MAY_ISOLATE)("in two network namespaces", () => {
  beforeAll(() => {
    for (const name of NAMESPACES) ip(`netns add ${name}`);
    ip(`-n ${NAMESPACES[0]} link add veth0 type veth peer name veth1 netns ${NAMESPACES[1]}`);
    for (const [i, name] of NAMESPACES.entries()) {
      ip(`-n ${name} addr add ${ADDRESSES[i]}/24 dev veth${i}`);
      for (const device of ["lo", `veth${i}`]) ip(`-n ${name} link set ${device} up`);
    }
  });
  afterAll(() => {
    for (const name of NAMESPACES) ip(`netns del ${name}`);
  });

  const apart = { within: NAMESPACES, port: 29_500 } as const;
  const envs = (more = {}): NodeJS.ProcessEnv[] => NAMESPACES.map(() => ({ HOST: ADDRESSES[0], ...more }));

  test("processes find each other by the route to rank 0, without being told an interface; then the link goes down", async () => {
    const at = { ...apart, envs: envs(), timeout: 3000 };
    const ranks = [
      ...(await start("endless", [0, 1], at)),
      ...(await start("barriers", [0, 1], { ...at, port: at.port + 1 })),
    ];
    await Promise.all(ranks.map(({ printed }) => printed("ready")));
    ip(`-n ${NAMESPACES[1]} link set veth1 down`);
    // The kernel sends again for a quarter of an hour before it gives a connection up.
    const late = setTimeout(() => ranks.map(({ child }) => child.kill("SIGKILL")), 60_000);
    const found = await Promise.all(ranks.map(({ ended }) => ended));
    clearTimeout(late);
    ip(`-n ${NAMESPACES[1]} link set veth1 up`);
    for (const [i, { code, output }] of found.entries()) {
      expect(output).toMatch(new RegExp(`RESOURCE: Rank ${i % 2} of 2 cannot go on: rank ${1 - (i % 2)} `));
      expect(code).toBe(1); // of itself
    }
  });

  test("an interface that does not lead to the others is named", async () => {
    const found = await ends("collectives", [0, 1], {
      ...apart,
      envs: envs({ GLOO_SOCKET_IFNAME: "lo" }),
      timeout: 5000,
    });
    expect(found.map(({ code }) => code)).toEqual([1, 1]);
    expect(found.map(({ output }) => output).join("")).toContain("does not connect to the others over lo");
  });
});
