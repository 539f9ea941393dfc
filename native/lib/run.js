// @ts-check
import { spawn } from "node:child_process";

/** @type {Set<import("node:child_process").ChildProcess>} */
const children = new Set();
process.on("exit", killAll);

/** Kills the commands that still run: before what they write is removed, and when this process ends. */
export function killAll() {
  for (const child of children) child.kill("SIGKILL");
}

/**
 * Runs a command to its end and gathers what it prints.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, onLine?: (line: string) => void, tick?: () => void }} [options] `onLine` gets stdout's
 *   lines as they come; `tick` is called twice a second
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>} code 127 when there is no such command
 */
export function run(command, args, { cwd, env, onLine, tick } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.add(child);
    const timer = tick && setInterval(tick, 500);
    let stdout = "";
    let stderr = "";
    let line = "";
    child.stdout.setEncoding("utf8").on("data", (/** @type {string} */ text) => {
      stdout += text;
      if (!onLine) return;
      const lines = (line + text).split("\n");
      line = lines.pop() ?? "";
      for (const each of lines) onLine(each);
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    /** @param {number} code */
    const end = (code) => {
      clearInterval(timer);
      children.delete(child);
      resolve({ code, stdout, stderr });
    };
    child.once("error", (error) => {
      stderr += error.message;
      end(127);
    });
    child.once("close", (code) => end(code ?? 1));
  });
}

/** The last lines of what a command printed, without addresses. @param {string} text */
export const tail = (text, lines = 12) =>
  text
    .trim()
    .split("\n")
    .slice(-lines)
    .join("\n")
    .replaceAll(/\bhttps?:\/\/\S+/g, "…");
