// @ts-check
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { run } from "../../native/lib/run.js";
import { root } from "../setup/root.mjs";

const NAME = "spo-gpu-check";

/** What the check needs of this checkout, beside Node and the packages that run. Built files are there after the set-up. */
const PARTS = [
  ...["package.json", "native/lib", "native/src", "native/bin", "native/package.json", "scripts"],
  ...["bench/dist", "bench/peers", "tests/golden/small"],
  ...["dist", "package.json", "prompts", "model", "clip", "judge", "tokenizer", "data/pairs.parquet"].map(
    (part) => `examples/emoji/${part}`,
  ),
];

/** What no program reads. */
const LEFT_OUT = ["*.map", "*.d.ts", "*.d.mts", "*.d.cts", "*.md", "*.test.*", "*.tsbuildinfo"];

/**
 * Writes an archive for a Linux machine of this architecture that has a compiler and a Python with torch, but no Node and no network.
 * Needs tar and xz.
 *
 * @param {string} file @returns {Promise<string>} what is told of it
 */
export async function pack(file) {
  const stage = mkdtempSync(join(tmpdir(), `${NAME}-`));
  try {
    execFileSync(process.execPath, [
      join(root, "node_modules/typescript/bin/tsc"),
      "-b",
      join(root, "bench"),
    ]);
    const node = join(stage, "node");
    copyFileSync(process.execPath, node);
    await run("strip", [node], {}); // half of it are symbols; without strip it is larger
    writeFileSync(join(stage, "gpu-check.sh"), SCRIPT, { mode: 0o755 });
    const parts = [...PARTS, ...packageParts(), ...installed()].filter((part) =>
      existsSync(join(root, part)),
    );
    const words = [
      ...["-cJf", file, ...LEFT_OUT.map((name) => `--exclude=${name}`), `--transform=s,^,${NAME}/,S`],
      ...["-C", stage, "node", "gpu-check.sh", "-C", root, ...parts],
    ];
    execFileSync("tar", words, { env: { ...process.env, XZ_OPT: "-6 -T0" } });
    const megabytes = (statSync(file).size / 1e6).toFixed(1);
    return `${file}: ${megabytes} MB. There: tar xJf ${basename(file)} && ${NAME}/gpu-check.sh --out FOLDER`;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

const SCRIPT = `#!/bin/sh
# The GPU check with the Node that lies beside it: gpu-check.sh [--out FOLDER] …, as npm run gpu-check in a clone.
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/node" "$here/scripts/gpu-check.mjs" "$@"
`;

/** The workspaces' built files; the page of Studio is not needed. */
function packageParts() {
  const names = ["torch", "hub", "records", "diffusion", "data", "scorers", "spo", "studio", "cli"];
  return names.flatMap((name) =>
    ["package.json", "dist", "bin", "vocabulary"].map((part) => `packages/${name}/${part}`),
  );
}

/** The packages that run, as npm has them installed, and the links to the workspaces. */
function installed() {
  const output = execFileSync("npm", ["ls", "--omit=dev", "--all", "--parseable"], {
    cwd: root,
    encoding: "utf8",
  });
  const paths = output.split("\n").map((path) => relative(root, path));
  const links = ["node_modules/@spo", "node_modules/spo"];
  return [...links, ...paths.filter((path) => /^node_modules\/(?!@spo\/|spo$)/.test(path))];
}
