import { expect, test } from "vitest";
import { launchPlace } from "./launch-place.js";

const torchrun = { RANK: "3", WORLD_SIZE: "8", MASTER_ADDR: "node-0", MASTER_PORT: "29500" };
const place = {
  rank: 3,
  size: 8,
  host: "node-0",
  port: 29_500,
  localRank: 0,
  storeIsHeld: false,
  attempt: "0",
};
const slurm = {
  ...{ SLURM_PROCID: "3", SLURM_NTASKS: "8", SLURM_LOCALID: "1", SLURM_NODELIST: "gpu[03-05,9],login" },
  ...{ SLURM_JOB_ID: "1234567", SLURM_JOB_NAME: "train" },
};
const ofSlurm = { ...place, localRank: 1, host: "gpu03", port: 19_567 };
const mpi = { OMPI_COMM_WORLD_RANK: "3", OMPI_COMM_WORLD_SIZE: "8", MASTER_ADDR: "node-0" };

test.each([
  ["nothing", {}, undefined],
  ["an address alone, which other programs set too", { MASTER_ADDR: "node-0" }, undefined],
  ["torchrun's four", torchrun, place],
  ["the third process of a machine", { ...torchrun, LOCAL_RANK: "2" }, { ...place, localRank: 2 }],
  [
    "an agent that holds the store, on the second try",
    { ...torchrun, TORCHELASTIC_USE_AGENT_STORE: "True", TORCHELASTIC_RESTART_COUNT: "1" },
    { ...place, storeIsHeld: true, attempt: "1" },
  ],
  ["a process alone", { ...torchrun, RANK: "0", WORLD_SIZE: "1" }, { ...place, rank: 0, size: 1 }],
  ["PyTorchJob's pods", { ...torchrun, PET_NNODES: "8", PET_NPROC_PER_NODE: "1" }, place],
  [
    "torchrun within Slurm, which gives ranks of its own",
    { ...slurm, ...torchrun, RANK: "5", TORCHELASTIC_RUN_ID: "x" },
    { ...place, rank: 5 },
  ],
  [
    "one torchrun a node within Slurm",
    { ...slurm, ...torchrun, SLURM_NTASKS: "2", SLURM_PROCID: "1" },
    place,
  ],
  ["srun", slurm, ofSlurm],
  [
    "srun with an address",
    { ...slurm, MASTER_ADDR: "head", MASTER_PORT: "77" },
    { ...ofSlurm, host: "head", port: 77 },
  ],
  ["srun on one plain host", { ...slurm, SLURM_NODELIST: "alone" }, { ...ofSlurm, host: "alone" }],
  ["srun on hosts without brackets", { ...slurm, SLURM_NODELIST: "a-1,b-2" }, { ...ofSlurm, host: "a-1" }],
  ["srun on racks", { ...slurm, SLURM_NODELIST: "r[2-3]n[07,09-11].lan" }, { ...ofSlurm, host: "r2n07.lan" }],
  [
    "a step on some of the job's nodes",
    { ...slurm, SLURM_STEP_NODELIST: "gpu05" },
    { ...ofSlurm, host: "gpu05" },
  ],
  ["a short job number", { ...slurm, SLURM_JOB_ID: "42" }, { ...ofSlurm, port: 15_042 }],
  ["a requeued job", { ...slurm, SLURM_RESTART_COUNT: "2" }, { ...ofSlurm, attempt: "2" }],
  ["a shell within an allocation", { ...slurm, SLURM_JOB_NAME: "interactive" }, undefined],
  ["srun --pty bash", { ...slurm, SLURM_JOB_NAME: "bash" }, undefined],
  ["one task of Slurm", { ...slurm, SLURM_PROCID: "0", SLURM_NTASKS: "1" }, undefined],
  ["mpirun", mpi, place],
  ["mpirun with a port", { ...mpi, MASTER_PORT: "77" }, { ...place, port: 77 }],
  [
    "mpirun on one machine",
    { ...mpi, MASTER_ADDR: undefined, OMPI_COMM_WORLD_LOCAL_SIZE: "8" },
    { ...place, host: "127.0.0.1" },
  ],
  ["one process of mpirun", { OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "1" }, undefined],
  ["MPICH", { PMI_RANK: "3", PMI_SIZE: "8", MASTER_ADDR: "node-0" }, place],
  ["one machine of Kubeflow", { PET_NNODES: "1", PET_NPROC_PER_NODE: "2" }, undefined],
] as const)("of %s a process learns its place", (_, env, expected) => {
  const found = launchPlace(env);
  if (expected === undefined) expect(found).toBeUndefined();
  else expect(found).toEqual({ ...expected, sources: expect.any(Array) });
});

test.each([
  [{ WORLD_SIZE: "2" }, "WORLD_SIZE is set, but not RANK, MASTER_ADDR, MASTER_PORT"],
  [{ ...torchrun, MASTER_PORT: "" }, "RANK, WORLD_SIZE, MASTER_ADDR are set, but not MASTER_PORT"],
  [{ ...torchrun, RANK: "8" }, 'RANK is "8", and must be a whole number from 0 to 7'],
  [{ ...torchrun, RANK: "-1" }, 'RANK is "-1"'],
  [{ ...torchrun, RANK: "1.5" }, 'RANK is "1.5"'],
  [{ ...torchrun, WORLD_SIZE: "many" }, 'WORLD_SIZE is "many"'],
  [{ ...torchrun, WORLD_SIZE: "0", RANK: "0" }, 'WORLD_SIZE is "0"'],
  [
    { ...torchrun, MASTER_PORT: "70000" },
    'MASTER_PORT is "70000", and must be a whole number from 1 to 65535',
  ],
  [{ ...torchrun, LOCAL_RANK: "4" }, 'LOCAL_RANK is "4", and must be a whole number from 0 to 3'],
  [{ ...torchrun, LOCAL_WORLD_SIZE: "9" }, 'LOCAL_WORLD_SIZE is "9"'],
  [{ ...torchrun, ...mpi, OMPI_COMM_WORLD_RANK: "1" }, "RANK is 3, and OMPI_COMM_WORLD_RANK is 1"],
  [{ ...torchrun, ...slurm, SLURM_PROCID: "1" }, "RANK is 3, and SLURM_PROCID is 1"],
  [{ ...slurm, SLURM_PROCID: "8" }, 'SLURM_PROCID is "8"'],
  [{ ...slurm, SLURM_NODELIST: "" }, "but neither SLURM_NODELIST nor MASTER_ADDR"],
  [{ ...slurm, SLURM_JOB_ID: "" }, "but neither SLURM_JOB_ID nor MASTER_PORT"],
  [{ ...slurm, SLURM_JOB_ID: "x" }, 'SLURM_JOB_ID is "x"'],
  [{ ...mpi, MASTER_ADDR: "" }, "OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE are set, but not MASTER_ADDR"],
  [{ OMPI_COMM_WORLD_RANK: "1" }, "OMPI_COMM_WORLD_RANK is set, but not OMPI_COMM_WORLD_SIZE"],
  [{ PMI_SIZE: "2" }, "PMI_SIZE is set, but not PMI_RANK"],
  [{ PET_NNODES: "2" }, "PET_NNODES is 2, but this process was started alone"],
  [{ SKYPILOT_NUM_NODES: "4" }, "SKYPILOT_NUM_NODES is 4, but this process was started alone"],
])("%j is refused, and the variable named", (env, words) => {
  expect(() => launchPlace(env)).toThrow(
    expect.objectContaining({ code: "ENVIRONMENT", message: expect.stringContaining(words) }),
  );
});

test("each value is told with its variable", () => {
  expect(launchPlace({ ...slurm, MASTER_PORT: "77" })?.sources).toEqual([
    "3 (SLURM_PROCID)",
    "8 (SLURM_NTASKS)",
    "gpu03 (SLURM_NODELIST)",
    "77 (MASTER_PORT)",
  ]);
});
