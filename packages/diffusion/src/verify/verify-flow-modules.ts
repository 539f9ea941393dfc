// Golden values of the flow families' text encoders and VAEs.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { readJsonObject } from "../config.js";
import {
  loadT5Encoder,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadVae,
} from "../layouts/model-folder.js";
import type { ClipTextOutput } from "../models/clip-text.js";
import type { T5EncoderModel } from "../models/t5-encoder.js";
import { fluxConditions } from "../prompts/flux-text.js";
import { sd3Conditions } from "../prompts/sd3-text.js";
import { loadT5Tokenizer, saveT5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import { type Case, type Cases, type Check, collectCases, largest, openGolden } from "./verify-check.js";
import { compareVae } from "./verify-modules.js";

const TOLERANCE = 2e-5;

/** The checks of the T5 tokenizer, of text encoders and VAE. */
export const flowModuleChecks: readonly Check[] = [
  { name: "T5 tokenizer", files: ["t5-tokenizer"], optional: "t5-tokenizer", run: checkT5Tokenizer },
  ...["sd3", "sd35", "flux"].flatMap((family) => {
    const expected = `expected-${family}.safetensors`;
    const files = { files: [expected, `tiny-${family}`], optional: expected };
    return [
      {
        ...files,
        name: `text encoders, ${family}`,
        run: (dir) => (family === "flux" ? checkFluxText(dir, family) : checkSd3Text(dir, family)),
      },
      { ...files, name: `VAE, ${family}`, run: (dir) => checkVae(dir, family) },
    ] satisfies Check[];
  }),
];

type Golden = ReturnType<typeof openGolden>;

const goldenOf = (dir: string, family: string): Golden => openGolden(dir, `expected-${family}.safetensors`);

interface TokenCase {
  prompt: string;
  ids: number[];
  ids_padded_16: number[];
}

/** The ids by tokenizer.json, by spiece.model alone, and by what is written again. */
function checkT5Tokenizer(dir: string): Case[] {
  return collectCases(({ list }) => {
    const folder = join(dir, "t5-tokenizer");
    const { cases } = readJsonObject(join(folder, "cases.json"), { large: true }) as { cases: TokenCase[] };
    const scratch = mkdtempSync(join(tmpdir(), "spo-tokenizer-"));
    try {
      const ways: [name: string, files: string][] = [["tokenizer.json", folder]];
      for (const name of ["spiece.model", "written"]) ways.push([name, join(scratch, name)]);
      mkdirSync(join(scratch, "spiece.model"));
      for (const file of ["spiece.model", "tokenizer_config.json"])
        copyFileSync(join(folder, file), join(scratch, "spiece.model", file));
      saveT5Tokenizer(join(scratch, "written"), loadT5Tokenizer(folder));
      for (const [name, files] of ways) {
        const tokenizer = loadT5Tokenizer(files);
        const wrong = cases.filter(
          ({ prompt, ids, ids_padded_16 }) =>
            tokenizer.encode(prompt).join() !== ids.join() ||
            tokenizer.encodePadded(prompt, 16).join() !== ids_padded_16.join(),
        );
        list.push({ case: `${name}, ${cases.length} prompts`, maxError: wrong.length, tolerance: 0 });
      }
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
}

function checkSd3Text(dir: string, family: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const golden = goldenOf(dir, family);
      const { get } = golden;
      const folder = join(dir, `tiny-${family}`);
      const textEncoder = loadTextEncoderWithProjection(join(folder, "text_encoder"));
      const textEncoder2 = loadTextEncoderWithProjection(join(folder, "text_encoder_2"));
      const textEncoder3 = loadT5Encoder(join(folder, "text_encoder_3"));
      const ids = {
        clip: get("text/input_ids"),
        clip2: get("text/input_ids_2"),
        t5: get("text/t5_input_ids"),
      };
      compareClip(cases, golden, "clip", textEncoder.forward(ids.clip));
      compareClip(cases, golden, "clip_2", textEncoder2.forward(ids.clip2));
      compareT5(cases, golden, textEncoder3, ids.t5);
      const { context, pooled } = sd3Conditions(
        { textEncoder, textEncoder2, textEncoder3 },
        ids,
        textEncoder3.width,
      );
      const [, length, width] = get("text/clip_states").shape as [number, number, number];
      const clip = context.narrow(1, 0, length);
      const t5Length = ids.t5.shape[1] as number;
      const found: Record<string, Tensor> = {
        "text/context": context,
        "text/pooled": pooled,
        "text/clip_padded": clip,
        "text/clip_states": clip.narrow(2, 0, width),
        "text/t5_states": context.narrow(1, length, t5Length),
      };
      for (const [key, value] of Object.entries(found)) cases.near(key, value, get(key), TOLERANCE);
      const without = sd3Conditions(
        { textEncoder, textEncoder2 },
        { ...ids, t5: t5Length },
        textEncoder3.width,
      );
      const rest = without.context.narrow(1, length, t5Length);
      cases.near("text/context without T5", rest, get("text/t5_states").mul(0), 0);
      for (const encoder of [textEncoder, textEncoder2, textEncoder3]) encoder.dispose();
      coveredText(cases, golden);
    }),
  );
}

function checkFluxText(dir: string, family: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const golden = goldenOf(dir, family);
      const { get } = golden;
      const folder = join(dir, `tiny-${family}`);
      const textEncoder = loadTextEncoder(join(folder, "text_encoder"));
      const textEncoder2 = loadT5Encoder(join(folder, "text_encoder_2"));
      const ids = { clip: get("text/input_ids"), t5: get("text/t5_input_ids") };
      compareClip(cases, golden, "clip", textEncoder.forward(ids.clip));
      compareT5(cases, golden, textEncoder2, ids.t5);
      const { context, pooled } = fluxConditions({ textEncoder, textEncoder2 }, ids);
      cases.near("text/context", context, get("text/context"), TOLERANCE);
      cases.near("text/pooled", pooled, get("text/pooled"), TOLERANCE);
      for (const encoder of [textEncoder, textEncoder2]) encoder.dispose();
      coveredText(cases, golden);
    }),
  );
}

/** The states that the file has. */
function compareClip(cases: Cases, { file, get }: Golden, name: string, output: ClipTextOutput): void {
  const states = `${name}/hidden_states.`;
  for (const key of file.keys().filter((key) => key.startsWith(states)))
    cases.near(key, output.hiddenStates.at(Number(key.slice(states.length))) as Tensor, get(key), TOLERANCE);
  const further: Record<string, Tensor> = {
    last_hidden_state: output.lastHiddenState,
    pooler_output: output.pooled,
    text_embeds: output.pooled,
  };
  for (const [key, value] of Object.entries(further))
    if (file.has(`${name}/${key}`)) cases.near(`${name}/${key}`, value, get(`${name}/${key}`), TOLERANCE);
}

/** Position bias, states between the layers, and the last one. Between layers magnitudes go to 20: relative to the largest of the file. */
function compareT5(cases: Cases, { file, get }: Golden, encoder: T5EncoderModel, ids: Tensor): void {
  const taps = file.keys().filter((key) => /^t5\/(hidden_states|position_bias)/.test(key));
  const scale = Math.max(2, ...taps.map((key) => largest(get(key))));
  const tap = (name: string, value: Tensor): void =>
    cases.near(`t5/${name}`, value, get(`t5/${name}`), 1e-5 * scale);
  const last = encoder.forward(ids, { tap });
  cases.near("t5/last_hidden_state", last, get("t5/last_hidden_state"), TOLERANCE);
}

const coveredText = (cases: Cases, { file }: Golden): void =>
  cases.covered(
    "text encoders",
    file.keys().filter((key) => /^(clip|clip_2|t5|text)\//.test(key) && !/input_ids(_\d)?$/.test(key)),
  );

function checkVae(dir: string, family: string): Case[] {
  return collectCases((cases) =>
    scope(() => {
      const vae = loadVae(join(dir, `tiny-${family}`, "vae"));
      compareVae(cases, goldenOf(dir, family), vae, TOLERANCE);
      vae.dispose();
    }),
  );
}
