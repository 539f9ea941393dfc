// For NODE_OPTIONS of a rank, `--import=…/rank-fault.mjs`: the command then kills itself in a phase, or saves slowly.
//   KILL_IN    connect, sampling, updating, exchange, saving or measuring
//   KILL_RANK  only this rank, and only when torchrun starts it first. Default: whoever it is
//   SLOW_SAVE  milliseconds that a checkpoint and a result take longer to be written
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { basename } from "node:path";
import { isMainThread } from "node:worker_threads";

const {
  RANK,
  KILL_RANK = RANK,
  TORCHELASTIC_RESTART_COUNT: restarts = "0",
  SLOW_SAVE: slowness = "0",
} = process.env;
const phase = RANK === KILL_RANK && restarts === "0" ? process.env.KILL_IN : undefined;
/** @returns {never} */
const end = () => {
  process.kill(process.pid, "SIGKILL");
  throw new Error("killed");
};

if (phase && isMainThread) {
  const [{ native }, { Run }] = await Promise.all([import("@spo/native"), import("@spo/records")]);
  const { tellPhase } = Run.prototype;
  let isUpdating = false;
  Run.prototype.tellPhase = function (name, progress) {
    isUpdating ||= name === "updating";
    // The process that writes is killed in the middle of a file, below. Others have nothing to write meanwhile.
    if (name === phase && (name === "saving" ? !this.writes : name !== "updating")) end();
    return tellPhase.call(this, name, progress);
  };
  const { backward, openGroup, waitTensor } = native;
  native.openGroup = (...args) => (phase === "connect" ? end() : openGroup(...args));
  native.backward = (...args) => (phase === "updating" ? end() : backward(...args));
  // Its own part is on the way.
  native.waitTensor = (...args) => (phase === "exchange" && isUpdating ? end() : waitTensor(...args));
}

if (phase === "saving" && !isMainThread) {
  const { writeSync } = fs;
  fs.writeSync = (/** @type {number} */ file, /** @type {any} */ bytes, /** @type {any[]} */ ...rest) => {
    if (bytes.length < 2) return writeSync(file, bytes, ...rest);
    writeSync(file, bytes, 0, bytes.length >> 1);
    return end();
  };
}

if (slowness !== "0") {
  const { openSync } = fs;
  fs.openSync = (path, ...rest) => {
    const name = basename(String(path));
    if (rest[0] === "w" && /manifest\.json|pytorch_lora_weights\.safetensors/.test(name))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(slowness));
    return openSync(path, ...rest);
  };
}
syncBuiltinESMExports();
