import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL(".", import.meta.url));

/**
 * Each export of each package → its source, so that tests need no build: `@spo/torch/files` → packages/torch/src/files.ts. The engine is
 * not built from TypeScript and is left out.
 */
function sources() {
  const { workspaces } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
  return (workspaces as string[]).slice(1).flatMap((folder) => {
    const { name, exports } = JSON.parse(readFileSync(`${root}${folder}/package.json`, "utf8"));
    return Object.entries<{ default: string }>(exports).map(([path, { default: built }]) => ({
      find: new RegExp(`^${name}${path.slice(1)}$`),
      replacement: `${root}${folder}/${built.replace("./dist/", "src/").replace(/\.js$/, ".ts")}`,
    }));
  });
}

/** The test files that stand beside their subject and end so. */
const beside = (end: string) => [
  `packages/*/src/**/*${end}.ts`,
  `packages/studio/client/*${end}.ts`,
  `examples/*/src/**/*${end}.ts`,
  `native/lib/**/*${end}.mjs`,
  `scripts/**/*${end}.mjs`,
];

export default defineConfig({
  resolve: { alias: sources() },
  oxc: { target: "es2022" }, // Node 20 has no `using`
  test: {
    pool: "forks",
    maxWorkers: 2,
    // One thread: the same bits in every run, and no barriers between busy workers.
    env: { OMP_NUM_THREADS: "1" },
    projects: [
      // `npm run check` runs the fast ones alone; a test file of four seconds or more is named `x.slow.test.ts`.
      ...[
        // Its files share their workers' processes, so that the engine is loaded twice and not once a file.
        { name: "fast", include: beside(".test"), exclude: beside(".slow.test"), isolate: false },
        { name: "slow", include: beside(".slow.test"), exclude: [] },
      ].map((project) => ({
        extends: true as const,
        test: {
          ...project,
          setupFiles: [`${root}tests/same-draws.ts`],
          testTimeout: 180_000, // against hangs alone: the slowest takes seconds, and a busy machine many times that
        },
      })),
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["tests/**/*.e2e.test.ts"],
          testTimeout: 30 * 60_000, // against hangs alone, as above: the slowest takes half a minute on two idle cores
          hookTimeout: 30 * 60_000,
          sequence: { groupOrder: 1 }, // after the fast ones
        },
      },
    ],
  },
});
