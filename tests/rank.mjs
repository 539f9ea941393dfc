// One rank of the tests of distributed.e2e.test.ts: rank.mjs SCENARIO RANK SIZE PORT TIMEOUT.
import { readdirSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { native } from "@spo/native";
import { noGrad, tensor } from "@spo/torch";
import { initWorld, requireSame } from "@spo/torch/distributed";
import { alive } from "./alive.mjs";

const [scenario = "", ...words] = process.argv.slice(2);
const [rank, size, port, timeout] = /** @type {[number, number, number, number]} */ (words.map(Number));

/** @type {Record<string, (world: import("@spo/torch/distributed").World) => Promise<unknown>>} */
const SCENARIOS = {
  async collectives(world) {
    const sum = tensor([rank + 1, 0.1 * rank]);
    await world.allReduce(sum);
    const half = tensor([rank + 0.5], { dtype: "bfloat16" });
    await world.allReduce(half);
    // Columns of a matrix: its elements do not lie in order.
    const columns = tensor([rank, 1, 2, 3], { shape: [2, 2] }).transpose(0, 1);
    await world.allReduce(columns);
    const all = await world.allGather(tensor([rank, -rank], { shape: [1, 2], dtype: "int64" }));
    const one = tensor([rank * 7]);
    await world.broadcast(one, size - 1);
    const values = await world.gather({ rank, text: "é".repeat(rank), nan: Number.NaN });
    await world.barrier("the middle");
    return {
      ...{ sum: sum.toNumbers(), half: half.toNumbers(), columns: columns.toNumbers() },
      ...{ all: [all.shape, all.toNumbers()], one: one.toNumbers(), values },
    };
  },
  async settings(world) {
    await requireSame(world, "settings", { seed: rank === size - 1 ? 1 : 0, lr: 3 });
  },
  /** Works for ever; the test ends a rank. */
  async endless(world) {
    for (let i = 0; ; i++) {
      await world.allReduce(tensor([1]));
      if (i === 3) console.log("ready");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  },
  /** As endless, by what the store does alone. */
  async barriers(world) {
    for (let i = 0; ; i++) {
      await world.barrier("the pause");
      if (i === 3) console.log("ready");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  },
  /** REDUCTIONS all-reduces; what is alive after half of them and at the end. Needs --expose-gc. */
  async soak(world) {
    const count = Number(process.env.REDUCTIONS);
    setFlagsFromString("--no-opt"); // what V8 compiles would count as growth
    const gradient = tensor(new Float32Array(1000).fill(rank));
    const files = () => readdirSync("/proc/self/fd").length;
    const found = []; // after each fifth
    for (let i = 1; i <= count; i++) {
      await world.allReduce(gradient);
      if (i % Math.ceil(count / 5) === 0 || i === count) found.push({ ...alive(), files: files() });
    }
    return { found };
  },
  async absent(world) {
    if (rank === 1) await new Promise((resolve) => setTimeout(resolve, 8000));
    else await world.barrier("the save");
  },
  /** How far a timer of 5 ms drifts while 75 MB are reduced, and how long that takes, ms. */
  async drift(world) {
    const gradient = tensor(new Float32Array(75e6 / 4).fill(rank));
    await world.allReduce(gradient); // connects
    const start = performance.now();
    let [last, drift] = [start, 0];
    const timer = setInterval(() => {
      const now = performance.now();
      drift = Math.max(drift, now - last - 5);
      last = now;
    }, 5);
    await world.allReduce(gradient);
    clearInterval(timer);
    const end = performance.now();
    return { drift: Math.max(drift, end - last), took: end - start };
  },
  /** Adds up 1 + 2 of two ranks, sixty times, with pauses. */
  async counting(world) {
    const sum = tensor([0]);
    for (let i = 0; i < 60; i++) {
      const one = tensor([rank + 1]);
      await world.allReduce(one);
      noGrad(() => sum.add_(one));
      if (i === 3) console.log("ready");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { sum: sum.item() };
  },
};

if (scenario === "agent") {
  // As torchrun's agent does: holds the store, and is no rank.
  await native.openStore("127.0.0.1", port, true, timeout, "agent");
  console.log("ready");
  await new Promise((resolve) => setTimeout(resolve, timeout));
  process.exit();
}
try {
  const { HOST: host = "127.0.0.1", ATTEMPT: attempt } = process.env;
  const place = { rank, size, host, port, storeIsHeld: attempt !== undefined, attempt };
  const world = await initWorld(place, { timeout });
  console.log(JSON.stringify(await SCENARIOS[scenario]?.(world)) ?? "done");
  await world.close();
} catch (error) {
  const { code, message } = /** @type {import("@spo/torch").UserError} */ (error);
  console.log(`${code}: ${message}`);
  process.exitCode = 1;
}
