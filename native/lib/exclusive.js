// @ts-check
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { userInfo } from "node:os";

/**
 * Runs `work` while no other process on this machine runs one of the same name; waits for its turn.
 *
 * The lock is a listening socket in Linux's abstract namespace: the kernel takes it back when its process ends in whatever way, so none
 * is ever left behind. It keeps two set-ups from doing the same work twice; that nothing half-made is seen does not rest on it, but on
 * the final rename of whatever is made. So where there are no such sockets the work is simply done.
 *
 * @template T
 * @param {string} name
 * @param {() => void} onWait called once when another process is at it
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function exclusively(name, onWait, work) {
  const address = `\0spo-${userInfo().uid}-${createHash("sha256").update(name).digest("hex").slice(0, 32)}`;
  let lock = await listen(address);
  if (lock === "taken") onWait();
  while (lock === "taken") {
    await new Promise((resolve) => setTimeout(resolve, 250));
    lock = await listen(address);
  }
  try {
    return await work();
  } finally {
    lock?.close();
  }
}

/**
 * @param {string} address
 * @returns {Promise<import("node:net").Server | "taken" | null>} null where there are no such sockets
 */
function listen(address) {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error) =>
      resolve(/** @type {NodeJS.ErrnoException} */ (error).code === "EADDRINUSE" ? "taken" : null),
    );
    server.listen(address, () => {
      server.unref();
      resolve(server);
    });
  });
}
