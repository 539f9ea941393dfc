// The command line, used as no one should: devices, pipes, links in circles, huge numbers, empty and mislabelled files, escapes in names.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../../packages/cli/dist/index.js";
import type { Kind } from "../kind.js";
import { copy } from "./weights.js";

/** Arguments, one text split at spaces where none of them holds one, and the exit codes that are right. */
type Trick = readonly [args: string | readonly string[], ...codes: readonly number[]];

const SAMPLE = "sample apple --steps 1 --output made --model";
const LABEL = "label pairs --by spm:spm --output made.parquet";
const SPO =
  "train spo --model model --spm spm --prompts prompts.txt --run made --rounds 1 --steps 2 --first-branch 1 --prompts-per-round 1";

const TRICKS: readonly Trick[] = [
  // Models that are none.
  ...[
    "..",
    "/dev/null",
    "/dev/zero",
    "fifo",
    "empty",
    "loop",
    "empty.safetensors",
    "text.ckpt",
    "folder.safetensors",
    "-",
  ].map((model): Trick => [`${SAMPLE} ${model}`, 4]),
  [["sample", "apple", "--model", "\u001b[2J\u001b]0;x\u0007"], 4],
  [["sample", "apple", "--model", ""], 2, 4],
  [["sample", "apple", "--model", "model\0"], 4],
  [["sample", "apple", "--model", "x".repeat(5000)], 4],
  [`${SAMPLE} model/unet`, 4],
  [`${SAMPLE} loop/unet`, 4, 7],
  [`${SAMPLE} deep-index`, 3, 4],
  [`${SAMPLE} empty.safetensors --configs loop`, 4],
  // Prompts.
  ...[
    "/dev/zero",
    "fifo",
    "loop",
    "empty.txt",
    "model",
    "utf16.txt",
    "nul.txt",
    "..",
    "fake.png",
    "/dev/full",
  ].map((from): Trick => [`sample --prompts ${from} --model model --output made`, 4]),
  ["sample --prompts - --model model --output made", 4],
  [["sample", "\u001b[2J\u001b]0;x\u0007 a\tb", "--model", "model", "--steps", "1", "--output", "made"], 0],
  [["sample", "apple --w 99999999999", "--model", "model", "--output", "made"], 2, 4, 5],
  [["sample", "apple --s 0", "--model", "model", "--output", "made"], 2, 4],
  [["sample", "apple".repeat(20_000), "--model", "model", "--steps", "1", "--output", "made"], 0, 2, 4],
  [["sample", "", "--model", "model", "--steps", "1", "--output", "made"], 0, 2, 4],
  // Numbers.
  [`${SAMPLE} model --width 9007199254740992`, 2],
  [`${SAMPLE} model --width 1000000 --height 1000000`, 2, 4, 5],
  [`${SAMPLE} model --width -8`, 2],
  [`${SAMPLE} model --steps 9007199254740991`, 2, 3],
  [`${SAMPLE} model --steps 1e3`, 2],
  [`${SAMPLE} model --guidance-scale NaN`, 2],
  [`${SAMPLE} model --guidance-scale 1e308`, 0, 2, 6],
  [`${SAMPLE} model --eta -1`, 2],
  [`${SAMPLE} model --seed 9007199254740991 --count 2`, 0, 2],
  [`${SAMPLE} model --count 9007199254740991`, 2, 5],
  [`${SAMPLE} model --threads 9007199254740991`, 2, 5],
  [`${SAMPLE} model --device cuda:99999999999`, 2, 3, 7],
  [`${SAMPLE} model --device tpu`, 2, 3],
  // Adapters.
  ...["/dev/zero", "/dev/null", "loop", "fifo", "empty.safetensors", "model", "text.ckpt"].map(
    (lora): Trick => [`${SAMPLE} model --lora ${lora}:1`, 4],
  ),
  [`${SAMPLE} model --lora lora.safetensors:1e309`, 2],
  [`${SAMPLE} model --lora deep-lora`, 3, 4],
  // Places to write to.
  ["sample apple --model model --steps 1 --output prompts.txt", 5],
  ["sample apple --model model --steps 1 --output prompts.txt/x", 5],
  ["sample apple --model model --steps 1 --output /proc/none", 5],
  ["sample apple --model model --steps 1 --output /dev/null", 5],
  ["sample apple --model model --steps 1 --output loop", 5],
  [["sample", "apple", "--model", "model", "--steps", "1", "--output", ""], 2],
  [["sample", "apple", "--model", "model", "--steps", "1", "--output", "x".repeat(300)], 5],
  [["sample", "apple", "--model", "model", "--steps", "1", "--output", "a\0b"], 2, 4, 5],
  ["-C /dev/null doctor", 2],
  ["-C loop doctor", 2],
  // Conversions.
  ...["..", "/dev/zero", "fifo", "loop", "empty", "empty.safetensors", "text.ckpt", "-"].map(
    (from): Trick => [`convert ${from} --output made.safetensors`, 4],
  ),
  ["convert model --output model", 2],
  ["convert model --output prompts.txt/x", 5],
  ["convert model --variant ../../x --output made", 2],
  ["convert model --to kohya --output made", 2],
  // Preference sets.
  ...[
    "..",
    "/dev/zero",
    "/dev/null",
    "fifo",
    "loop",
    "empty",
    "folder.parquet",
    "empty.parquet",
    "empty.csv",
    "empty.jsonl",
    "empty.json",
    "zero.jsonl",
    "fifo.jsonl",
    "deep.jsonl",
    "deep.json",
    "utf16.csv",
    "text.parquet",
    "outside.jsonl",
  ].map((path): Trick => [`data check ${path}`, 4]),
  ["data export pairs --to parquet --output prompts.txt/x", 5],
  ["data export pairs --to jsonl --split __proto__ --output made", 0, 4],
  ["data import pairs --votes /dev/zero --output made.parquet", 4],
  ["data import pairs --votes deep.jsonl --output made.parquet", 4],
  // Labels and evaluations.
  ["label pairs --by spm:/dev/zero --output made.parquet", 4],
  ["label pairs --by nothing:spm --output made.parquet", 2],
  [`${LABEL} --temperature 0`, 2],
  [`${LABEL} --temperature 1e999`, 2],
  [`${LABEL} --tie 2`, 2],
  ["label /dev/zero --images --by spm:spm --output made.parquet", 4],
  ["eval images:nowhere --metrics spm:spm --output made", 4],
  ["eval images:/dev/zero --metrics spm:spm --output made", 4],
  ["eval images:damaged --metrics spm:spm --output made", 4],
  ["eval model --metrics clip: --prompts prompts.txt --output made", 2],
  ["eval model --metrics clip:/dev/null --prompts prompts.txt --output made", 4],
  ["eval model --metrics spm:spm --prompts /dev/zero --output made", 4],
  ["eval model --metrics spm:spm --prompts prompts.txt --seeds 1,1 --output made", 2],
  ["eval model --metrics ./throws.mjs --prompts prompts.txt --output made", 3, 4],
  // Trainings and their configs.
  ["train spo nowhere.json", 3],
  ["train spo deep.json --run made", 3],
  ["train spo zero.json --run made", 3, 4],
  ["train spo fifo.json --run made", 3, 4],
  ["train spo empty.json --run made", 3],
  ["train spo throws.mjs --run made", 3],
  ["train spo folder.json --run made", 3, 4],
  [`${SPO} --prompts-per-round 9007199254740991`, 3],
  [`${SPO} --candidates 1000000000`, 3],
  [`${SPO} --__proto__.x 1`, 3],
  [`${SPO} --optimizer.lr 1e999`, 3],
  [`${SPO} --rank 1000000000`, 3, 5],
  [`${SPO} --prompts /dev/zero`, 4],
  [`${SPO} --prompts fifo`, 4],
  [`${SPO} --held-out loop`, 4],
  [`${SPO} --model ..`, 4],
  [`${SPO} --spm model`, 4],
  [`${SPO} --judge ./throws.mjs`, 3, 4],
  [`${SPO} --run prompts.txt`, 3, 5],
  [["train", "dpo", "--model", "model", "--pairs", "[]", "--run", "made"], 3, 4],
  ["train spm --model model --init spm --pairs /dev/zero --run made", 4],
  ["compare deep.json --run made", 3],
  // Reports, plans, golden values, the example.
  ...["..", "/dev/null", "loop", "damaged-run", "empty"].map((folder): Trick => [`report ${folder}`, 4]),
  ["plan sample --model /dev/zero", 4],
  ["plan sample --model empty", 4],
  ["plan sample --width 9007199254740984 --height 9007199254740984", 0, 2, 3, 5],
  ["plan spo deep.json", 3],
  ["verify /dev/null", 1, 4],
  ["verify empty", 1, 4],
  ["verify loop", 1, 4],
  ["quickstart --example /dev/null --output made", 4],
  ["quickstart --output prompts.txt", 5],
  ["quickstart --example empty --output made", 4],
];

/** Runs the command in this process; gives its exit code and what it wrote for people. */
async function command(args: readonly string[], folder: string): Promise<{ code: number; words: string }> {
  const from = process.cwd();
  const { stdout, stderr } = process;
  const writes = [stdout, stderr].map((stream) => stream.write);
  let words = "";
  process.chdir(folder);
  for (const stream of [stdout, stderr])
    stream.write = (text: string | Uint8Array): boolean => {
      words += String(text);
      return true;
    };
  const before = new Map(process.eventNames().map((name) => [name, process.listeners(name as "exit")]));
  try {
    process.exitCode = 0;
    await run(["node", "spo", ...args]);
    return { code: Number(process.exitCode ?? 0), words };
  } finally {
    process.exitCode = 0;
    process.chdir(from);
    for (const [i, stream] of [stdout, stderr].entries()) stream.write = writes[i] as typeof stream.write;
    stdout.removeAllListeners("error");
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"] as const)
      for (const listener of process.listeners(name))
        if (!before.get(name)?.includes(listener as never)) process.removeListener(name, listener);
  }
}

const deep = "[".repeat(100_000) + "]".repeat(100_000);
const jsonl = (image0: string): string =>
  `${JSON.stringify({ prompt: "a", image_0: image0, image_1: "damaged/a.png", label_0: 1, label_1: 0 })}\n`;

function makeWorld(folder: string): void {
  const at = (name: string): string => join(folder, name);
  copy(
    folder,
    "tiny-sd15:model",
    "tiny-spm:spm",
    "lora-sd15-peft.safetensors:lora.safetensors",
    "tiny-sd15:deep-index",
  );
  for (const name of [
    "empty",
    "folder.safetensors",
    "folder.parquet",
    "folder.json",
    "damaged",
    "pairs",
    "deep-lora",
    "damaged-run",
  ])
    mkdirSync(at(name));
  for (const name of [
    "empty.safetensors",
    "empty.txt",
    "empty.parquet",
    "empty.csv",
    "empty.jsonl",
    "empty.json",
  ])
    writeFileSync(at(name), "");
  for (const name of ["text.ckpt", "text.parquet", "fake.png"])
    writeFileSync(at(name), Buffer.from("caf\xe9, and no more", "latin1"));
  writeFileSync(at("prompts.txt"), "a red apple\n");
  writeFileSync(at("utf16.txt"), Buffer.from("\ufeffa cat\n", "utf16le"));
  writeFileSync(at("utf16.csv"), Buffer.from("\ufeffprompt,image_0\n", "utf16le"));
  writeFileSync(at("nul.txt"), "a\0b\n");
  writeFileSync(at("deep.json"), deep);
  writeFileSync(at("deep.jsonl"), `${deep}\n`);
  writeFileSync(at("zero.jsonl"), jsonl("/dev/zero"));
  writeFileSync(at("fifo.jsonl"), jsonl("fifo"));
  writeFileSync(at("outside.jsonl"), jsonl("/etc/passwd"));
  writeFileSync(at("damaged/a.png"), "\x89PNG\r\n");
  writeFileSync(at("damaged/a.txt"), "a");
  writeFileSync(at("throws.mjs"), "throw new TypeError('of the user');\n");
  writeFileSync(at("deep-index/model_index.json"), deep);
  copyFileSync(at("lora.safetensors"), at("deep-lora/pytorch_lora_weights.safetensors"));
  writeFileSync(at("deep-lora/adapter_config.json"), deep);
  writeFileSync(at("pairs/train.jsonl"), jsonl("damaged/a.png"));
  writeFileSync(at("damaged-run/config.json"), deep);
  writeFileSync(at("damaged-run/events.jsonl"), "{");
}

export const commandKinds: readonly Kind[] = [
  {
    name: "command",
    group: "commands",
    count: TRICKS.length,
    make: makeWorld,
    async read(folder, index) {
      const at = (name: string): string => join(folder, name);
      // What no copy takes along, and what the trick before has made.
      if (!existsSync(at("fifo"))) {
        symlinkSync("loop", at("loop"));
        symlinkSync("/dev/zero", at("zero.json"));
        spawnSync("mkfifo", [at("fifo"), at("fifo.json")]);
      }
      for (const name of ["made", "made.safetensors", "made.parquet"])
        rmSync(at(name), { recursive: true, force: true });
      const [text, ...codes] = index < 0 ? (["doctor --help", 0] as const) : (TRICKS[index] as Trick);
      const args = typeof text === "string" ? text.split(" ") : text;
      const { code, words } = await command(args, folder);
      const shown = JSON.stringify(args.map((arg) => arg.slice(0, 60)));
      if (/this is a bug|^\s+at .*:\d+:\d+/m.test(words) || !(codes as readonly number[]).includes(code))
        throw new Error(`${shown} ended with ${code}:\n${words}`);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal would act on is looked for
      if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(words))
        throw new Error(`${shown} writes what a terminal acts on: ${JSON.stringify(words)}`);
      return code === 0 ? "read" : "refused";
    },
  },
];
