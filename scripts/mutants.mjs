// @ts-check
// Tries every mistake of scripts/mutants/mutants.mjs in a copy: killed if its test fails, else survived. Exit 1 if any survived.
//
//   node scripts/mutants.mjs [part of a name…]
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { MUTANTS } from "./mutants/mutants.mjs";
import { root } from "./setup/root.mjs";

const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter(
  ({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)),
);
const copy = mkdtempSync(join(tmpdir(), "spo-mutants-"));

/**
 * Whether test files pass in the copy.
 * @param {readonly string[]} tests
 */
function passes(tests) {
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const run = spawnSync(process.execPath, [vitest, "run", "--bail", "1", ...tests], {
    cwd: copy,
    encoding: "utf8",
    env: { ...process.env, CI: "true" },
  });
  if (/No test files found/.test(run.stdout + run.stderr)) throw new Error(`no test: ${tests.join(", ")}`);
  return { ok: run.status === 0, text: run.stdout + run.stderr };
}

try {
  cpSync(join(root, "packages"), join(copy, "packages"), {
    recursive: true,
    filter: (path) => !relative(root, path).split("/").includes("dist"),
  });
  // Workers of the readers are started from what is built; no mistake is made there.
  for (const name of readdirSync(join(root, "packages")))
    symlinkSync(join(root, "packages", name, "dist"), join(copy, "packages", name, "dist"));
  for (const path of ["vitest.config.ts", "package.json", "tsconfig.base.json"])
    cpSync(join(root, path), join(copy, path));
  for (const path of ["node_modules", "native", "examples", "tests"])
    symlinkSync(join(root, path), join(copy, path));

  const whole = passes([...new Set(chosen.map(({ test }) => test))]);
  if (!whole.ok) {
    console.error(`${whole.text}\nThe tests fail without any mistake.`);
    process.exitCode = 2;
  } else {
    let survived = 0;
    for (const { name, file, from, to, test } of chosen) {
      const path = join(copy, file);
      const text = readFileSync(path, "utf8");
      writeFileSync(
        path,
        text.replace(from, () => to),
      );
      const killed = !passes([test]).ok;
      writeFileSync(path, text);
      if (!killed) survived++;
      console.log(`${killed ? "killed  " : "SURVIVED"}  ${name}  (${file})`);
    }
    console.log(`${chosen.length - survived} of ${chosen.length} killed`);
    process.exitCode = survived > 0 ? 1 : 0;
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
