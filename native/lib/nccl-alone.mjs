// @ts-check
// A process group of one that opens NCCL, adds up on the first GPU and aborts: nccl-alone.mjs [LIBRARY]. Prints what NCCL says, as JSON.
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { native } from "./index.js";
import { loadNccl } from "./nccl.js";

/** @type {import("./nccl.js").Nccl} */
const nccl = process.argv[2] ? createRequire(import.meta.url)(process.argv[2]) : loadNccl();

const reason = (/** @type {Promise<unknown>} */ work) =>
  work.then(
    () => null,
    (/** @type {Error} */ error) => error.message.split("\n", 1)[0],
  );
const server = createServer().listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
await new Promise((resolve) => server.close(resolve));

const early = await reason(Promise.resolve().then(() => nccl.done(1000)));
const unknown = await reason(nccl.open("alone", 0, 1000));
await native.openStore("127.0.0.1", port, true, 10_000, "alone");
await native.openGroup("alone", 0, 1, "127.0.0.1", null, 10_000);
const refused = await reason(nccl.open("alone", 0, 10_000));
/** @type {object} */
let more = {};
if (refused === null) {
  const call = (/** @type {string} */ name, /** @type {unknown[]} */ ...values) =>
    native.call(native.op(name, ""), ...values);
  const there = /** @type {number} */ (call("aten::full", [4], 3, 6, null, "cuda:0", null));
  call("_c10d_functional::all_reduce_", there, "sum", "alone");
  call("_c10d_functional::wait_tensor", there);
  await nccl.done(10_000);
  const here = call("aten::_to_copy", there, null, null, "cpu", null, false, null);
  const sum = [...new Float32Array(native.copyOut(/** @type {number} */ (here)))];
  nccl.abort();
  more = { sum, aborted: await reason(nccl.done(10_000)) };
}
await native.closeGroup();
console.log(JSON.stringify({ early, unknown, refused, ...more }));
