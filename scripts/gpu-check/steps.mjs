// @ts-check
// What a GPU has to show, the most telling first: whoever runs out of time has the rest left out.
import { join } from "node:path";
import { findPython } from "../bench/python.mjs";
import { root } from "../setup/root.mjs";
import { farthest, lastStep, stepsIn } from "./training-steps.mjs";

/**
 * @typedef {import("./run-steps.mjs").Step} Step
 * @typedef {import("./run-steps.mjs").Shell} Shell
 * @typedef {"spm" | "spo" | "dpo"} Kind
 */

const SPO = join(root, "packages/cli/bin/spo.js");
const EXAMPLE = join(root, "examples/emoji");
const NCCL = join(root, "native/lib/nccl-alone.mjs");
const GOLDEN = join(root, "tests/golden/small");

/** The preference model comes first: SPO is judged by it. */
const KINDS = /** @type {const} */ (["spm", "spo", "dpo"]);

/** The preference model learns in two of them. @param {Kind} kind @param {boolean} dryRun */
const dtypesOf = (kind, dryRun) =>
  ["float32", "bfloat16", "float16"].slice(0, dryRun ? 1 : kind === "spm" ? 2 : 3);

/** Between runs of the same numbers: on a CPU they are the same bits, a GPU adds in an order that changes. */
const toleranceOn = (/** @type {string} */ device) => (device === "cpu" ? 0 : 1e-2);

/**
 * @param {{ device: string, dryRun: boolean, folder: string }} options folder: for what they write
 * @returns {Step[]}
 */
export function stepsOf({ device, dryRun, folder }) {
  const at = (/** @type {string} */ name) => join(folder, name);
  const tolerance = toleranceOn(device);
  /** @param {Shell} shell @param {readonly string[]} words @param {Parameters<Shell>[2]} [options] */
  const spo = (shell, words, options) =>
    shell(process.execPath, [SPO, ...words], {
      ...options,
      env: { OMP_NUM_THREADS: dryRun ? "1" : "4", ...options?.env },
    });

  /** @param {Kind} kind @param {string} run @param {readonly string[]} [more] */
  const training = (kind, run, more = []) => [
    ...[
      "train",
      kind,
      ...settingsOf(kind, at("spm-float32/model")),
      "--model",
      join(EXAMPLE, "model"),
      "--device",
      device,
    ],
    ...["--run", at(run), "--json", ...more],
  ];
  /** @param {Kind} kind @param {string} run @param {readonly string[]} more */
  const trained = (kind, run, more) => async (/** @type {Shell} */ shell) =>
    lastStep(await spo(shell, training(kind, run, more)));

  /** @type {Step[]} */
  const steps = [
    {
      name: "set-up",
      what: "the addon compiles against the torch that is there",
      limit: 150,
      always: true,
      run: async (shell) => {
        const { libtorch, origin, compiler } = JSON.parse(await spo(shell, ["setup", "--json"]));
        return { libtorch: libtorch.version, from: libtorch.origin, addon: origin, compiler };
      },
    },
    {
      name: "golden values",
      what: "every part gives the reference's numbers; tolerances ×10 on a GPU, TensorFloat-32 off",
      limit: 60,
      run: async (shell) => {
        const only = dryRun ? ["--only", "SPO loss"] : [];
        const words = ["verify", GOLDEN, "--device", device, "--json", ...only];
        const { ok, summary, checks } = JSON.parse(await spo(shell, words, { allows: 1 }));
        const failed = checks.filter((/** @type {{ ok: boolean }} */ each) => !each.ok);
        return {
          ...summary,
          fault: ok ? null : failed.map((/** @type {object} */ each) => JSON.stringify(each)).join("\n"),
        };
      },
    },
    ...KINDS.flatMap((kind) =>
      dtypesOf(kind, dryRun).map((dtype) => ({
        name: `train ${kind}, ${dtype}`,
        what: "a small model trains, and its losses are numbers",
        limit: 40,
        always: kind === "spm" && dtype === "float32", // SPO's judge
        run: trained(kind, `${kind}-${dtype}`, ["--dtype", dtype]),
      })),
    ),
    {
      name: "kill and resume",
      what: "a training that SIGKILL ends goes on to the numbers of one that was left alone",
      limit: 60,
      run: async (shell) => {
        const whole = stepsIn(await spo(shell, training("spo", "whole")));
        await spo(shell, training("spo", "killed"), { killAfter: /"type":"checkpoint"/ });
        const rest = stepsIn(await spo(shell, training("spo", "killed")));
        return compared(whole.slice(-rest.length), rest, tolerance);
      },
    },
    {
      name: "two processes",
      what: "two processes by gloo on one card give the numbers of one",
      limit: 60,
      run: async (shell) => {
        const one = stepsIn(await spo(shell, training("dpo", "one-process")));
        const launch = ["launch", "--nproc", "2", "--", "spo", ...training("dpo", "two-processes")];
        const two = stepsIn(await spo(shell, launch));
        return compared(one, two, Math.max(tolerance, 1e-5)); // sums of two halves
      },
    },
    {
      name: "gradient checkpointing",
      what: "what a block computes again in backward, on the engine's threads, changes no number",
      limit: 60,
      run: async (shell) => {
        const plain = stepsIn(await spo(shell, training("dpo", "not-checkpointed")));
        const again = stepsIn(
          await spo(shell, training("dpo", "checkpointed", ["--gradient-checkpointing", "true"])),
        );
        return compared(plain, again, tolerance);
      },
    },
  ];
  if (dryRun) return steps;

  return [
    ...steps,
    {
      name: "NCCL",
      what: "NCCL opens, adds up on the card and is aborted, in a group of one",
      limit: 60,
      run: async (shell) => {
        const { refused, sum, aborted } = JSON.parse(await shell(process.execPath, [NCCL]));
        const adds = String(sum) === "3,3,3,3" && aborted === "NCCL was aborted";
        return { sum, aborted, fault: refused ?? (adds ? null : "it adds up or is aborted otherwise") };
      },
    },
    ...FULL_SIZE.map((job) => ({
      name: `full size, ${job}`,
      what: "three steps of each phase with random weights; memory beside the plan's",
      limit: 75,
      run: async (/** @type {Shell} */ shell) => {
        const command = ["plan", ...words(job), "--device", device, "--json"];
        const planned = JSON.parse(await spo(shell, command)).memory.peak / 2 ** 20;
        const { measured } = JSON.parse(await spo(shell, [...command, "--measure"]));
        return { "planned MiB": Math.round(planned), ...numbersIn(measured) };
      },
    })),
    {
      name: "UNet against diffusers",
      what: "wall seconds of full-size UNets, ours and diffusers' by turns",
      limit: 120,
      run: async (shell) => {
        if (!(await findPython())) return { python: "has no torch and diffusers: only ours" };
        const words = ["unet", "--device", device, "--rounds", "3", "--out", at("bench")];
        const said = await shell(process.execPath, [join(root, "scripts/bench.mjs"), ...words]);
        return { said: said.trim() };
      },
    },
  ];
}

/**
 * Settings of trainings that take seconds, three rounds of SPO among them, so that there is a checkpoint to go on from. judge: the
 * preference model of SPO.
 *
 * @param {Kind} kind @param {string} judge
 */
function settingsOf(kind, judge) {
  const pairs = ["--pairs", join(EXAMPLE, "data/pairs.parquet")];
  switch (kind) {
    case "spm":
      return [
        ...words("--steps 2 --batch 4 --bank 8 --warmup 1 --eval-timesteps 0 --save-every 1"),
        ...["--init", join(EXAMPLE, "clip"), ...pairs],
      ];
    case "spo":
      return [
        ...words(
          "--rounds 3 --prompts-per-round 2 --steps 4 --first-branch 1 --threshold 0 --batch 2 --samples 0 --save-every 1",
        ),
        ...["--spm", judge, "--prompts", join(EXAMPLE, "prompts/train.txt")],
      ];
    case "dpo":
      return [...words("--steps 2 --batch 4 --save-every 1"), ...pairs];
  }
}

/** Jobs of published size, with words of `spo plan`: what a card must hold. */
const FULL_SIZE = [
  "spo sd15-8gb",
  "spo sd15-12gb --dtype float16",
  "spo sd15-12gb --dtype float32",
  "dpo sd15 --micro-batch 1",
  "spm sd15-12gb",
  "spo sdxl-24gb",
];

/** @param {string} text */
function words(text) {
  return text.split(" ");
}

/** @param {ReturnType<typeof stepsIn>} expected @param {ReturnType<typeof stepsIn>} found @param {number} tolerance */
function compared(expected, found, tolerance) {
  const difference = farthest(expected, found);
  const fault = difference <= tolerance ? null : `the losses differ by ${difference}, more than ${tolerance}`;
  return { steps: found.length, difference, fault };
}

/** @param {Record<string, unknown>} of */
const numbersIn = (of) =>
  Object.fromEntries(Object.entries(of ?? {}).filter(([, value]) => typeof value === "number"));
