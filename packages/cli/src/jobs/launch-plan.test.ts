import { expect, test } from "vitest";
import { environmentOf, launchPlan } from "./launch-plan.js";

const facts = { env: {}, gpus: 0, cores: 6 };
const pet = {
  PET_NPROC_PER_NODE: "4",
  PET_NNODES: "2",
  PET_NODE_RANK: "1",
  PET_MASTER_ADDR: "job-node-0-0.job",
  PET_MASTER_PORT: "29400",
};
const sky = {
  SKYPILOT_NODE_RANK: "1",
  SKYPILOT_NUM_NODES: "2",
  SKYPILOT_NUM_GPUS_PER_NODE: "8",
  SKYPILOT_NODE_IPS: "10.0.0.1\n10.0.0.2\n",
};

test.each([
  ["nothing", {}, {}, { nproc: 1, nnodes: 1, nodeRank: 0, master: undefined }],
  ["a number", { nproc: 3 }, {}, { nproc: 3, nnodes: 1, nodeRank: 0 }],
  ["auto without a GPU", { nproc: "auto" }, {}, { nproc: 6 }],
  [
    "options of several machines",
    { nproc: 2, nnodes: 3, nodeRank: 2, master: "node-0:1234" },
    {},
    { nproc: 2, nnodes: 3, nodeRank: 2, master: { host: "node-0", port: 1234 } },
  ],
  [
    "a master without a port",
    { nnodes: 2, nodeRank: 0, master: "node-0" },
    {},
    { master: { host: "node-0", port: 29_500 } },
  ],
  [
    "an address of IPv6",
    { nnodes: 2, nodeRank: 0, master: "[fd00::1]:77" },
    {},
    { master: { host: "fd00::1", port: 77 } },
  ],
  [
    "Kubeflow's variables",
    {},
    pet,
    { nproc: 4, nnodes: 2, nodeRank: 1, master: { host: "job-node-0-0.job", port: 29_400 } },
  ],
  ["Kubeflow's auto on CPUs", {}, { ...pet, PET_NPROC_PER_NODE: "auto" }, { nproc: 6, nnodes: 2 }],
  ["options before variables", { nproc: 2, nodeRank: 0 }, pet, { nproc: 2, nnodes: 2, nodeRank: 0 }],
  [
    "an address of IPv6 in Kubeflow's variables",
    {},
    { ...pet, PET_MASTER_ADDR: "fd00::1" },
    { master: { host: "fd00::1", port: 29_400 } },
  ],
  [
    "SkyPilot's machines without a GPU",
    {},
    { ...sky, SKYPILOT_NUM_GPUS_PER_NODE: "0" },
    { nproc: 1, nnodes: 2 },
  ],
  [
    "a process of several machines that says so",
    { nnodes: 2, nodeRank: 1, master: "a:1" },
    { RANK: "1", WORLD_SIZE: "2", OMP_NUM_THREADS: "4,2" },
    { nodeRank: 1, master: { host: "a", port: 1 } },
  ],
  [
    "SkyPilot's variables",
    {},
    sky,
    { nproc: 8, nnodes: 2, nodeRank: 1, master: { host: "10.0.0.1", port: 29_500 } },
  ],
] as const)("of %s a launch takes its numbers", (_, options, env, expected) => {
  expect(launchPlan(options, { ...facts, env })).toMatchObject(expected);
});

test.each([
  [{ nnodes: 2, master: "a:1" }, {}, "there are 2 machines (--nnodes), and --node-rank is missing", "USAGE"],
  [{ nnodes: 2, nodeRank: 0 }, {}, "there are 2 machines (--nnodes), and --master is missing", "USAGE"],
  [{ nodeRank: 1 }, {}, "--node-rank is 1, and there are 1 machines", "USAGE"],
  [
    { nnodes: 2, nodeRank: 0, master: "a:99999" },
    {},
    '--master is "a:99999", and must be HOST:PORT',
    "USAGE",
  ],
  ...[":29500", "host:", "http://host:29500", "a b:29500", "", "fd00::1:77"].map(
    (master) =>
      [
        { nnodes: 2, nodeRank: 0, master },
        {},
        `--master is ${JSON.stringify(master)}, and must be HOST:PORT`,
        "USAGE",
      ] as const,
  ),
  [{}, { OMP_NUM_THREADS: "zwei" }, 'OMP_NUM_THREADS is "zwei"', "ENVIRONMENT"],
  [{}, { OMP_NUM_THREADS: "0" }, 'OMP_NUM_THREADS is "0"', "ENVIRONMENT"],
  [
    {},
    { RANK: "1", WORLD_SIZE: "7" },
    "RANK is 1 and WORLD_SIZE is 7: this process is one of several",
    "ENVIRONMENT",
  ],
  [
    {},
    { ...pet, PET_NODE_RANK: "2" },
    'PET_NODE_RANK is "2", and must be a whole number from 0 to 1',
    "ENVIRONMENT",
  ],
  [{}, { PET_NPROC_PER_NODE: "many" }, 'PET_NPROC_PER_NODE is "many"', "ENVIRONMENT"],
] as const)("%j with %j is refused by name", (options, env, words, code) => {
  expect(() => launchPlan(options, { ...facts, env })).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(words) }),
  );
});

test("each value is told with where it comes from", () => {
  expect(launchPlan({ nproc: 2 }, { ...facts, env: pet }).sources).toEqual([
    "nproc 2 (--nproc)",
    "nnodes 2 (PET_NNODES)",
    "node-rank 1 (PET_NODE_RANK)",
    "master job-node-0-0.job:29400 (PET_MASTER_ADDR)",
  ]);
});

test("a process learns its place, a GPU of its own, and one thread unless told otherwise", () => {
  const plan = { nproc: 2, nnodes: 3, nodeRank: 1, sources: [] };
  const master = { host: "node-0", port: 77 };
  expect(environmentOf(1, plan, master, { env: {}, gpus: 2, cores: 4 })).toEqual({
    ...{ RANK: "3", WORLD_SIZE: "6", LOCAL_RANK: "1", LOCAL_WORLD_SIZE: "2", GROUP_RANK: "1" },
    ...{ GROUP_WORLD_SIZE: "3", MASTER_ADDR: "node-0", MASTER_PORT: "77" },
    ...{ CUDA_VISIBLE_DEVICES: "1", OMP_NUM_THREADS: "1" },
  });
  const given = { env: { CUDA_VISIBLE_DEVICES: "5,7", OMP_NUM_THREADS: "3" }, gpus: 8, cores: 4 };
  expect(environmentOf(1, plan, master, given)).toMatchObject({
    CUDA_VISIBLE_DEVICES: "7",
    OMP_NUM_THREADS: "3",
  });
  expect(environmentOf(0, plan, master, { env: {}, gpus: 0, cores: 4 })).not.toHaveProperty(
    "CUDA_VISIBLE_DEVICES",
  );
});
