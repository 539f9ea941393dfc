// Golden values of the text encoders, and of the context that a pipeline makes of them.
import { join } from "node:path";
import { cat, noGrad, type Tensor } from "@spo/torch";
import { loadTextEncoder, loadTextEncoderWithProjection } from "../layouts/model-folder.js";
import type { ClipTextOutput } from "../models/clip-text.js";
import { type Case, type Cases, type Check, collectCases, openGolden } from "./verify-check.js";

const TOLERANCE = 1e-5;

export const textChecks: readonly Check[] = [
  { name: "text encoder, sd15", files: ["expected-sd15.safetensors", "tiny-sd15"], run: checkText },
  { name: "text encoders, sdxl", files: ["expected-sdxl.safetensors", "tiny-sdxl"], run: checkTexts },
];

type Golden = ReturnType<typeof openGolden>;

function checkText(dir: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const golden = openGolden(dir, "expected-sd15.safetensors");
      const encoder = loadTextEncoder(join(dir, "tiny-sd15", "text_encoder"));
      const output = encoder.forward(golden.get("text/input_ids"));
      compareStates(cases, golden, "text", output);
      cases.near("text/pooler_output", output.pooled, golden.get("text/pooler_output"), TOLERANCE);
      encoder.dispose();
    }),
  );
}

function checkTexts(dir: string): Case[] {
  return collectCases((cases) =>
    noGrad(() => {
      const golden = openGolden(dir, "expected-sdxl.safetensors");
      const folder = join(dir, "tiny-sdxl");
      const first = loadTextEncoder(join(folder, "text_encoder"));
      const second = loadTextEncoderWithProjection(join(folder, "text_encoder_2"));
      const outputs = {
        text: first.forward(golden.get("text/input_ids")),
        text_2: second.forward(golden.get("text_2/input_ids")),
      };
      for (const [name, output] of Object.entries(outputs)) compareStates(cases, golden, name, output);
      cases.near("text_2/pooled", outputs.text_2.pooled, golden.get("text_2/pooled"), TOLERANCE);
      const context = cat([stateAt(outputs.text, -2), stateAt(outputs.text_2, -2)], -1);
      cases.near("text/context", context, golden.get("text/context"), TOLERANCE);
      for (const encoder of [first, second]) encoder.dispose();
    }),
  );
}

/** Every hidden state that the file has, counted from either end, and the normed last one. */
function compareStates(cases: Cases, { file, get }: Golden, name: string, output: ClipTextOutput): void {
  const prefix = `${name}/hidden_states.`;
  for (const key of file.keys().filter((key) => key.startsWith(prefix)))
    cases.near(key, stateAt(output, Number(key.slice(prefix.length))), get(key), TOLERANCE);
  const last = `${name}/last_hidden_state`;
  if (file.has(last)) cases.near(last, output.lastHiddenState, get(last), TOLERANCE);
}

const stateAt = ({ hiddenStates }: ClipTextOutput, i: number): Tensor => hiddenStates.at(i) as Tensor;
