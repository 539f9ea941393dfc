// @ts-check
// What an editor shows on hover, asked of TypeScript's own language server: each setting of each recipe and each export of @spo/torch has a
// description there.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { settingsOf } from "@spo/records/config";
import * as torch from "@spo/torch";
import { SCHEMAS } from "spo/schemas";
import { afterAll, expect, test } from "vitest";
import { settingsName } from "./settings-types.mjs";
import { root } from "./setup/root.mjs";

/** @typedef {{ contents?: { value?: string } } | null} Hover */

/**
 * @template A, B
 * @typedef {[A] extends [B] ? ([B] extends [A] ? true : false) : false} Same
 */
/** @template {import("zod").z.ZodType} S @typedef {import("zod").z.input<S>} Input */
/** @typedef {typeof import("spo/schemas")} S */
/** @typedef {typeof import("@spo/example-emoji/schemas")} E */

// The written types are what the schemas take. Held here, where a stale one does not keep the generator from being built.
/**
 * @type {[Same<import("spo/schemas").TrainSpmSettings, Input<S["TrainSpmConfig"]>>,
 * Same<import("spo/schemas").TrainSpoSettings, Input<S["TrainSpoConfig"]>>,
 * Same<import("spo/schemas").TrainDpoSettings, Input<S["TrainDpoConfig"]>>,
 * Same<import("spo/schemas").CompareSettings, Input<S["CompareConfig"]>>,
 * Same<import("@spo/example-emoji/schemas").DataPairsSettings, Input<E["MakePairsConfig"]>>,
 * Same<import("@spo/example-emoji/schemas").PretrainVaeSettings, Input<E["PretrainVaeConfig"]>>,
 * Same<import("@spo/example-emoji/schemas").PretrainTextToImageSettings, Input<E["PretrainTextToImageConfig"]>>,
 * Same<import("@spo/example-emoji/schemas").PretrainClipSettings, Input<E["PretrainClipConfig"]>>,
 * Same<import("@spo/example-emoji/schemas").PretrainJudgeSettings, Input<E["PretrainJudgeConfig"]>>]}
 */
const same = [true, true, true, true, true, true, true, true, true];

const compiler = join(root, "node_modules/typescript/bin/tsc");
const server = spawn(process.execPath, [compiler, "--lsp", "--stdio"], {
  cwd: root,
  stdio: ["pipe", "pipe", "ignore"],
});
afterAll(() => void server.kill());

/** @type {Map<number, (result: unknown) => void>} */
const waiting = new Map();
let received = Buffer.alloc(0);
server.stdout.on("data", (/** @type {Buffer} */ data) => {
  received = Buffer.concat([received, data]);
  for (;;) {
    const head = received.indexOf("\r\n\r\n");
    const length = Number(
      /Content-Length: (\d+)/.exec(received.toString("latin1", 0, Math.max(0, head)))?.[1],
    );
    if (head < 0 || received.length < head + 4 + length) return;
    const message = JSON.parse(received.toString("utf8", head + 4, head + 4 + length));
    received = received.subarray(head + 4 + length);
    if (message.method === undefined) waiting.get(message.id)?.(message.result);
    else if (message.id !== undefined)
      send({ id: message.id, result: (message.params?.items ?? []).map(() => null) }); // what it asks of an editor
  }
});

/** @param {object} message */
function send(message) {
  const text = JSON.stringify({ jsonrpc: "2.0", ...message });
  server.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}

let last = 0;
/** @param {string} method @param {object} params @returns {Promise<unknown>} */
const ask = (method, params) =>
  new Promise((resolve) => {
    waiting.set(++last, resolve);
    send({ id: last, method, params });
  });

const ready = ask("initialize", {
  processId: process.pid,
  rootUri: pathToFileURL(root).href,
  capabilities: { textDocument: { hover: { contentFormat: ["markdown"] } } },
}).then(() => send({ method: "initialized", params: {} }));

/** What is shown behind the type for the last word of each line but the first. @param {string} name @param {readonly string[]} lines */
async function described(name, lines) {
  await ready;
  const uri = pathToFileURL(join(root, "packages/spo/src", name)).href;
  send({
    method: "textDocument/didOpen",
    params: { textDocument: { uri, languageId: "typescript", version: 1, text: `${lines.join("\n")}\n` } },
  });
  const shown = await Promise.all(
    lines.slice(1).map(async (text, i) => {
      const position = { line: i + 1, character: text.search(/\w+\W*$/) };
      const hover = /** @type {Hover} */ (
        await ask("textDocument/hover", { textDocument: { uri }, position })
      );
      return hover?.contents?.value?.split("```").at(-1)?.trim() ?? "";
    }),
  );
  return shown;
}

test("the written types of the settings are what the schemas take", () => expect(same).not.toContain(false));

test("of each setting of each recipe it is what the schema says", async () => {
  const settings = Object.entries(SCHEMAS).flatMap(([command, schema]) =>
    settingsOf(schema).map(({ path, description }) => ({ name: settingsName(command), path, description })),
  );
  const first = `import type { ${Object.keys(SCHEMAS).map(settingsName).join(", ")} } from "./recipes/settings.gen.js";`;
  const lines = settings.map(({ name, path }) => {
    const declared = `declare const ${name}_${path.replaceAll(".", "_")}: ${name}`;
    return `${declared}; ${name}_${path.replaceAll(".", "_")}.${path.replaceAll(".", "!.")};`;
  });
  const shown = await described("hover-settings.ts", [first, ...lines]);
  for (const [i, { path, description }] of settings.entries())
    expect(shown[i], `${path}: ${lines[i]}`).toContain(/** @type {string} */ (description));
  expect(settings.length).toBeGreaterThan(100);
});

test.each([
  ["trainSpo", "candidates", "x_{t-1} drawn from one x_t"],
  ["trainDpo", "emptyPrompts", "share of"],
  ["trainSpm", "guidanceScale", "of the base"],
])("of a setting in a call of %s it is there too", async (recipe, setting, words) => {
  const lines = [`import { ${recipe} } from "./recipes.js";`, `${recipe}({ ${setting}`, ": 0 });"];
  const [shown] = await described(`hover-${recipe}.ts`, lines);
  expect(shown).toContain(words);
});

test("of each export of @spo/torch it is a sentence", async () => {
  const names = Object.keys(torch).sort();
  const lines = names.map((name) => `torch.${name};`);
  const shown = await described("hover-torch.ts", ['import * as torch from "@spo/torch";', ...lines]);
  expect(names.filter((_, i) => !/\w{2}/.test(shown[i] ?? ""))).toEqual([]);
  expect(shown[names.indexOf("mseLoss")]).toContain('reduction: "mean"');
  expect(names.length).toBeGreaterThan(200);
});
