// This command as a process of its own.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { UserError } from "@spo/torch/files";

const PROGRAM = fileURLToPath(new URL("../../bin/spo.js", import.meta.url));

/** Runs a command to its end. Throws a UserError (`DATA`) where it fails; it has said why. */
export function runSelf(words: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [PROGRAM, ...words], { stdio: ["ignore", "ignore", "inherit"] });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) =>
      code === 0
        ? resolve()
        : reject(new UserError(`spo ${words.slice(0, 2).join(" ")} failed.`, { code: "DATA" })),
    );
  });
}
