// @ts-check
// That libtorch's half for CUDA is loaded with the addon, by a library that stands in for it.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readAddonRecord } from "./addon-record.js";
import { ADDON_FILE } from "./load-addon.js";

const folder = mkdtempSync(join(tmpdir(), "cuda-half-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("where there is a driver, libtorch's half for CUDA is loaded with the addon, unless SPO_CUDA=0", () => {
  const { addon = "", libtorch } = readAddonRecord() ?? {};
  const [own = "", ...others] = libtorch?.libraries ?? [];
  const [first, bin] = [join(folder, "0"), join(folder, "bin")];
  copyFileSync(addon, join(folder, ADDON_FILE));
  for (const each of [first, bin]) mkdirSync(each);
  for (const name of readdirSync(own)) symlinkSync(join(own, name), join(first, name));
  rmSync(join(first, "libtorch_cuda.so"), { force: true });
  const harmless =
    readFileSync("/proc/self/maps", "utf8").match(/\/\S*\/lib(?:dl|pthread)\S*\.so\S*/)?.[0] ?? "";
  copyFileSync(harmless, join(first, "libtorch_cuda.so"));
  for (const [i, library] of others.entries()) symlinkSync(library, join(folder, String(i + 1)));
  writeFileSync(join(bin, "nvidia-smi"), "");
  chmodSync(join(bin, "nvidia-smi"), 0o755);
  /** @param {string} [cuda] */
  const loaded = (cuda) => {
    const code = `await import(${JSON.stringify(new URL("./index.js", import.meta.url).href)}); console.log(require("fs").readFileSync("/proc/self/maps", "utf8").includes("libtorch_cuda.so"))`;
    const env = { ...process.env, SPO_ADDON: join(folder, ADDON_FILE), PATH: `${bin}:${process.env.PATH}` };
    const { stdout, stderr } = spawnSync(process.execPath, ["-e", `(async () => { ${code} })()`], {
      env: { ...env, SPO_CUDA: cuda },
      encoding: "utf8",
    });
    return stdout.trim() || stderr;
  };
  expect([loaded(), loaded("0")]).toEqual(["true", "false"]);
});

test("threads that wait sleep after a short while, unless the environment says how they wait", () => {
  /** What OpenMP says when it is loaded. @param {Record<string, string>} more */
  const told = (more) => {
    const { OMP_WAIT_POLICY: _, GOMP_SPINCOUNT: __, ...env } = process.env;
    const index = JSON.stringify(new URL("./index.js", import.meta.url).href);
    const { stderr } = spawnSync(process.execPath, ["-e", `import(${index})`], {
      env: { ...env, ...more, OMP_DISPLAY_ENV: "VERBOSE", SPO_CUDA: "0" },
      encoding: "utf8",
    });
    return /GOMP_SPINCOUNT = '(\d+)'/.exec(stderr)?.[1];
  };
  expect(told({})).toBe("1000");
  expect(told({ GOMP_SPINCOUNT: "77" })).toBe("77");
  expect(told({ OMP_WAIT_POLICY: "passive" })).toBe("0");
});
