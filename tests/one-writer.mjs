// @ts-check
// Opens of one run at the same moment, by several processes that load no tensor code: never may two of them be its writers.
//
//   node tests/one-writer.mjs [--rounds 200]     the amount of a release; prints a line for each kind of lock
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { thisProcess } from "@spo/native/lock";

const self = fileURLToPath(import.meta.url);

/** Whether this machine lets this user make pid namespaces. */
export const hasNamespaces =
  spawnSync("unshare", ["--pid", "--fork", "--mount-proc", "true"], { stdio: "ignore" }).status === 0;

/**
 * What `processes` processes saw that opened a run at the same moment, `rounds` times.
 *
 * stale: a killed process's lock is there. namespaces: every second process is in a pid namespace of its own.
 *
 * @param {{ processes: number, rounds: number, stale: boolean, namespaces?: boolean }} race
 * @returns {Promise<{ rounds: number, winners: number, twoWriters: number, faults: string[] }>}
 */
export async function race({ processes, rounds, stale, namespaces = false }) {
  const folder = mkdtempSync(join(tmpdir(), "spo-one-writer-"));
  try {
    for (let round = 0; round < rounds; round++) {
      mkdirSync(join(folder, String(round), "run"), { recursive: true });
      if (stale) leaveLock(join(folder, String(round), "run", "writer.json"));
    }
    const racers = Array.from({ length: processes }, (_, i) =>
      racer(folder, i, { processes, rounds }, namespaces && i % 2 === 1),
    );
    const all = (await Promise.all(racers)).flat();
    return {
      rounds,
      winners: all.filter((what) => what === "won").length,
      twoWriters: all.filter((what) => what === "two writers").length,
      faults: all.filter((what) => !["won", "two writers", "refused"].includes(what)),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {string} path */
function leaveLock(path) {
  writeFileSync(path, JSON.stringify({ ...thisProcess(), pid: 2 ** 22 + 1, token: path }));
}

/**
 * @param {string} folder
 * @param {number} index
 * @param {{ processes: number, rounds: number }} race
 * @param {boolean} inNamespace
 * @returns {Promise<string[]>}
 */
function racer(folder, index, { processes, rounds }, inNamespace) {
  const words = [process.execPath, self, "racer", folder, String(index), String(processes), String(rounds)];
  const [command = "", ...args] = inNamespace
    ? ["unshare", "--pid", "--fork", "--mount-proc", ...words]
    : words;
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (data) => (text += data));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) =>
      code === 0 ? resolve(JSON.parse(text)) : reject(new Error(`a racer ended with ${code}`)),
    );
  });
}

/** One process: in each round it waits for the others, opens the run, and holds it until all have tried. */
async function runRacer(/** @type {string[]} */ [folder = "", index, processes, rounds]) {
  const { Run } = await import("@spo/records");
  const seen = [];
  const mark = (/** @type {string} */ path) => closeSync(openSync(path, "w"));
  const pause = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  const allHave = (/** @type {number} */ round, /** @type {string} */ what) => {
    mark(join(folder, String(round), `${what}-${index}`));
    while (
      Array.from({ length: Number(processes) }, (_, i) => join(folder, String(round), `${what}-${i}`)).some(
        (path) => !existsSync(path),
      )
    )
      pause();
  };
  for (let round = 0; round < Number(rounds); round++) {
    const guard = join(folder, String(round), "guard");
    allHave(round, "ready");
    try {
      const run = Run.open(join(folder, String(round), "run"), { kind: "spo", config: {} });
      try {
        closeSync(openSync(guard, "wx"));
        allHave(round, "tried");
        seen.push("won");
      } catch {
        seen.push("two writers");
      }
      rmSync(guard, { force: true });
      run.close();
    } catch (error) {
      seen.push(/is being written by/.test(/** @type {Error} */ (error).message) ? "refused" : String(error));
    }
    mark(join(folder, String(round), `tried-${index}`));
  }
  process.stdout.write(JSON.stringify(seen));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv[2] === "racer") await runRacer(process.argv.slice(3));
  else {
    const at = process.argv.indexOf("--rounds");
    const rounds = at > 0 ? Number(process.argv[at + 1]) : 200;
    for (const namespaces of hasNamespaces ? [false, true] : [false]) {
      for (const [processes, stale] of /** @type {const} */ ([
        [2, false],
        [2, true],
        [6, false],
        [6, true],
      ])) {
        const { winners, twoWriters, faults } = await race({ processes, rounds, stale, namespaces });
        console.log(
          `${processes} processes, ${stale ? "dead" : "no"} lock${namespaces ? ", half of them in other pid namespaces" : ""}: ${rounds} rounds, ${winners} writers, two at once ${twoWriters}, other faults ${faults.length} ${faults[0] ?? ""}`,
        );
        if (twoWriters + faults.length > 0 || winners !== rounds) process.exitCode = 1;
      }
    }
    if (!hasNamespaces) console.log("This machine makes no pid namespaces: without them.");
  }
}
