// @ts-check
// Stand-ins for python3, g++ and npm, for tests of the set-up: they work in milliseconds, download nothing, and fail as they are told.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

// What they do is steered by files in the folder "told": `told/pip` holds what pip is to do, and so on. Each call is a line in calls.log.
const PRELUDE = `
const fs = require("fs"), path = require("path");
const args = process.argv.slice(2);
const home = path.dirname(path.dirname(process.argv[1]));
const told = (name) => { try { return fs.readFileSync(path.join(home, "told", name), "utf8"); } catch { return ""; } };
const log = (text) => fs.appendFileSync(path.join(home, "calls.log"), text + "\\n");
const write = (file, text) => { fs.mkdirSync(path.dirname(file), { recursive: true }); fs.writeFileSync(file, text); };
const fail = (text) => { process.stderr.write(text + "\\n"); process.exit(1); };
const stall = () => setInterval(() => {}, 1e6);
const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
`;

const PYTHON = `
if (args[0] === "-c") {
  console.log(JSON.stringify({ executable: process.argv[1], version: "3.11.4", torch: told("torch") || null, pip: told("pip") !== "none" }));
} else if (args[0] === "-m") {
  const [name, version] = args.at(-1).split("==");
  log("pip download " + name);
  while (told("pip") === "wait") pause();
  if (told("pip").startsWith("fail:")) fail(told("pip").slice(5));
  const file = path.join(args[args.indexOf("--dest") + 1], name + "-" + version + "-py3-none-any.whl");
  if (told("pip") === "stall") { write(file + ".part", "half"); stall(); }
  else write(file, "wheel of " + name);
} else {
  const [, wheel, folder] = args;
  log("unpack " + path.basename(wheel));
  console.log("0 100");
  if (told("unpack").startsWith("fail:")) fail(told("unpack").slice(5));
  write(path.join(folder, "torch/lib/libtorch_cpu.so"), "library");
  write(path.join(folder, "torch/include/torch/headeronly/version.h"), "#define TORCH_VERSION_MAJOR 2\\n#define TORCH_VERSION_MINOR 15\\n#define TORCH_VERSION_PATCH 0\\n");
  write(path.join(folder, "torch/lib/libc10.so"), "NSt7__cxx1112basic_string");
  write(path.join(folder, "torch/include/ATen/ATen.h"), "");
  if (told("unpack") === "stall") stall();
  else if (told("unpack") === "endless") for (let i = 0; ; i++) write(path.join(folder, "torch/include", String(i % 100), String(i)), "");
  else console.log("100 100");
}
`;

const COMPILER = `
if (args.includes("--version")) console.log(told("version") || "g++ (Debian) 12.2.0");
else {
  log("compile");
  if (told("compiler").startsWith("fail:")) fail(told("compiler").slice(5));
  const out = args[args.indexOf("-o") + 1];
  if (told("compiler") === "stall") { write(out, "half"); stall(); }
  else if (told("compiler") === "garbage") write(out, "garbage");
  else fs.copyFileSync(told("addon"), out);
}
`;

const NPM = `
if (args[0] === "--version") console.log("11.0.0");
else {
  log("npm " + args.join(" "));
  while (told("npm") === "wait") pause();
  if (told("npm").startsWith("fail:")) fail(told("npm").slice(5));
  const modules = path.join(process.cwd(), "node_modules");
  fs.rmSync(modules, { recursive: true, force: true });
  write(path.join(modules, "typescript/bin/tsc"), "const fs = require('fs'); fs.mkdirSync('packages/torch/dist', { recursive: true }); fs.writeFileSync('packages/torch/dist/index.js', '');");
  if (told("npm") === "stall") stall();
  else {
    write(path.join(modules, "node-api-headers/package.json"), "{}");
    fs.copyFileSync(path.join(process.cwd(), "package-lock.json"), path.join(modules, ".package-lock.json"));
  }
}
`;

/** A place with tools of its own, and a record of what they were called for. */
export class FakeTools {
  folder = mkdtempSync(join(tmpdir(), "setup-"));
  cache = join(this.folder, "cache");
  /** @type {Set<import("node:child_process").ChildProcess>} */
  #running = new Set();

  /** @param {readonly ("python3" | "g++" | "npm")[]} tools those on the PATH */
  constructor(tools = ["python3", "g++", "npm"]) {
    mkdirSync(join(this.folder, "bin"));
    mkdirSync(join(this.folder, "told"));
    for (const tool of tools) {
      const file = join(this.folder, "bin", tool);
      const body = { python3: PYTHON, "g++": COMPILER, npm: NPM }[tool];
      writeFileSync(file, `#!${process.execPath}\n${PRELUDE}${body}`);
      chmodSync(file, 0o755);
    }
  }

  /**
   * Tells a tool what to do: `fail:WORDS`, `stall`, `endless` (writes on), `wait` (until it is told something else), or a value.
   *
   * @param {string} name @param {string} what
   */
  tell(name, what) {
    writeFileSync(join(this.folder, "told", name), what);
  }

  /** What the tools were called for, in order. */
  calls() {
    const file = join(this.folder, "calls.log");
    return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
  }

  /** A folder that passes for a libtorch. @param {string} version */
  libtorch(version, name = `libtorch-${version}`) {
    const root = join(this.folder, name, "torch");
    const [major, minor, patch] = version.split(".");
    const header = `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`;
    for (const [path, text] of [
      ["lib/libtorch_cpu.so", "library"],
      ["lib/libc10.so", "NSt7__cxx1112basic_string"],
      ["include/ATen/ATen.h", ""],
      ["include/torch/headeronly/version.h", header],
    ]) {
      const file = join(root, path ?? "");
      mkdirSync(dirname(file), { recursive: true });
      appendFileSync(file, text ?? "");
    }
    return root;
  }

  /** The environment in which only these tools are found. @param {Record<string, string>} more */
  environment(more = {}) {
    return {
      PATH: join(this.folder, "bin"),
      HOME: this.folder,
      XDG_CACHE_HOME: this.cache,
      SPO_CUDA: "0",
      ...more,
    };
  }

  /**
   * Runs Node with these tools.
   *
   * @param {readonly string[]} args
   * @param {{ env?: Record<string, string>, cwd?: string, until?: () => boolean, signal?: NodeJS.Signals,
   *   onWords?: (stderr: string) => void }} [options]
   *   `signal` is sent once `until` holds
   * @returns {Promise<{ code: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string }>}
   */
  node(args, { env = {}, cwd = this.folder, until, signal = "SIGKILL", onWords } = {}) {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, args, {
        cwd,
        env: this.environment(env),
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      this.#running.add(child);
      let [stdout, stderr] = ["", ""];
      child.stdout.on("data", (text) => {
        stdout += text;
      });
      child.stderr.on("data", (text) => {
        stderr += text;
        onWords?.(stderr);
      });
      // A kill takes the whole group, as closing a terminal or a power cut would; a polite signal is for the process itself to pass on.
      const watch =
        until &&
        setInterval(() => {
          if (!until()) return;
          clearInterval(watch);
          if (signal === "SIGKILL") process.kill(-(/** @type {number} */ (child.pid)), signal);
          else child.kill(signal);
        }, 10);
      child.once("close", (code, by) => {
        clearInterval(watch);
        this.#running.delete(child);
        resolve({ code, signal: by, stdout, stderr });
      });
    });
  }

  [Symbol.dispose]() {
    for (const child of this.#running) process.kill(-(/** @type {number} */ (child.pid)), "SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Wheels as the fake pip serves them. @type {readonly import("./wheels.js").Wheel[]} */
export const fakeWheels = ["torch", "nvidia-cuda-runtime"].map((name) => {
  const sha256 = createHash("sha256").update(`wheel of ${name}`).digest("hex");
  return { name, version: "2.15.0", megabytes: 1, cudaOnly: false, sha256: { x64: sha256, arm64: sha256 } };
});
