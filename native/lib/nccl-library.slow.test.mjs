// @ts-check
// NCCL's library, compiled against a torch for CUDA where this machine has one: SPO_LIBTORCH's or the active Python's.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { findCompiler } from "./compile.js";
import { findLibtorch, nvidiaDriver } from "./find-libtorch.js";
import { NCCL_FILE, ncclFault, placeNccl } from "./nccl-library.js";

const folder = mkdtempSync(join(tmpdir(), "nccl-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A libtorch of which this test reads only where things are. @returns {import("./libtorch.js").Libtorch} */
const libtorch = (/** @type {Partial<import("./libtorch.js").Libtorch>} */ other = {}) => ({
  ...{ root: join(folder, "site/torch"), version: "2.15.0", origin: "python", cuda: "13.2", fingerprint: "" },
  libraries: ["torch", "nvidia/cu13", "nvidia/nccl"].map((name) => join(folder, "site", name, "lib")),
  ...other,
});

test("a libtorch without CUDA, one of another version, and one without headers are refused, with what mends it", () => {
  expect(ncclFault(libtorch({ cuda: null }))?.message).toMatch(/has no CUDA\.\n {2}SPO_CUDA=1 npx spo setup/);
  expect(ncclFault(libtorch({ version: "2.12.1" }))?.problem).toContain("libtorch 2.15");
  for (const name of ["cuda_runtime_api.h", "nv/target", "cublas_v2.h", "cusparse.h", "cusolverDn.h"]) {
    const file = join(folder, "site/nvidia/cu13/include", name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, "");
  }
  const { problem, fix } = ncclFault(libtorch()) ?? {};
  expect(problem).toContain("nccl.h is not beside the libtorch");
  expect(fix).toMatch(/^python3 -m pip install nvidia-nccl-cu13\nnpx spo setup --again/);
  expect(ncclFault(libtorch({ origin: "wheel" }))?.fix).toMatch(/^rm -r .*site\n/);
  mkdirSync(join(folder, "site/nvidia/nccl/include"), { recursive: true });
  writeFileSync(join(folder, "site/nvidia/nccl/include/nccl.h"), "");
  expect(ncclFault(libtorch())).toBeNull();
});

const { libtorch: found } = findLibtorch();

test.skipIf(!found || ncclFault(found) !== null)(
  "it compiles against this machine's torch for CUDA; without a driver NCCL refuses, with one it adds up and is aborted",
  async () => {
    if (!found) return;
    const built = join(folder, "built");
    mkdirSync(built);
    await placeNccl(found, await findCompiler(), built);
    const program = fileURLToPath(new URL("nccl-alone.mjs", import.meta.url));
    const { stdout, stderr } = spawnSync(process.execPath, [program, join(built, NCCL_FILE)], {
      encoding: "utf8",
    });
    expect(JSON.parse(stdout || JSON.stringify(stderr))).toEqual({
      early: "NCCL is not open",
      unknown: expect.stringContaining("alone"),
      ...(nvidiaDriver()
        ? { refused: null, sum: [3, 3, 3, 3], aborted: "NCCL was aborted" }
        : { refused: expect.stringContaining("no GPUs found") }),
    });
  },
  600_000,
);
