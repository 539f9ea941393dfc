import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import "./image-pool.js";
import { LOADERS_ARE_BLOCKED } from "./image-loaders.js";

test("a thread that a pool starts finds other loaders blocked, and does not block them again while its siblings decode", async () => {
  const worker = new Worker(
    `const { getEnvironmentData, parentPort, workerData } = require("node:worker_threads");
     parentPort.postMessage(getEnvironmentData(workerData));`,
    { eval: true, workerData: LOADERS_ARE_BLOCKED },
  );
  expect(await new Promise((resolve) => worker.once("message", resolve))).toBe(true);
  await worker.terminate();
});
