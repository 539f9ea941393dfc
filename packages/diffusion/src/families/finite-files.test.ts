// No file that is written for others holds NaN or infinity, and a refusal leaves nothing behind.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DType, Generator, noGrad, type Tensor, UserError } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { saveModel } from "../layouts/model-folder.js";
import { addLora } from "../lora/lora.js";
import { saveLora } from "../lora/lora-file.js";
import { saveSingleFile } from "./load-single-file.js";
import { tinyPipeline } from "./tiny-pipeline.fixture.js";

const folder = mkdtempSync(join(tmpdir(), "finite-"));
afterAll(() => rmSync(folder, { recursive: true }));

const pipe = tinyPipeline("sdxl");
const lora = addLora(tinyPipeline("sd15").denoiser, { rank: 2 }, new Generator(1));
const { denoiser: adapted } = tinyPipeline("sd15");

/** Ways to write, and a weight of what is written. */
const writers: [
  name: string,
  weight: Tensor,
  weightName: string,
  write: (path: string, dtype?: DType) => void,
][] = [
  [
    "a model's folder",
    pipe.models.unet.conv_in.weight,
    "conv_in.weight",
    (path, dtype) => saveModel(path, pipe.models.unet, { dtype }),
  ],
  [
    "a pipeline's folder",
    pipe.models.vae.decoder.conv_out.weight,
    "decoder.conv_out.weight",
    (path, dtype) => pipe.save(path, { dtype }),
  ],
  [
    "one file",
    pipe.models.text_encoder.text_model.final_layer_norm.weight as Tensor,
    "text_model.final_layer_norm.weight",
    (path, dtype) => saveSingleFile(path, pipe.models, { dtype }),
  ],
  [
    "a LoRA",
    [...lora.layers.values()][0]!.lora_B,
    "lora_up.weight",
    (path, dtype) => saveLora(path, lora, adapted, { dtype }),
  ],
];

describe.each(writers)("%s", (_, weight, name, write) => {
  /** Writes with one number of a weight changed, and puts it back. */
  function writeWith(value: number, dtype?: DType): { path: string; fault?: UserError } {
    const path = join(folder, "written");
    // A view whatever the order in memory: kernels lie channels last.
    const first = weight.shape.reduce((part, _, dim) => part.narrow(dim, 0, 1), weight.detach());
    const before = first.item();
    noGrad(() => first.fill_(value));
    try {
      write(path, dtype);
      return { path };
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
      return { path, fault: error as UserError };
    } finally {
      noGrad(() => first.fill_(before));
    }
  }

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "is not written with %f, and the weight is named",
    (value) => {
      for (const dtype of [undefined, "bfloat16"] as const) {
        const { path, fault } = writeWith(value, dtype);
        expect(fault?.code).toBe("NUMERIC");
        expect(fault?.message).toContain("NaN or infinity");
        expect(fault?.message).toContain(name);
        expect(existsSync(path)).toBe(false);
      }
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  test("is not written in float16 with a number that this does not hold, and is in bfloat16", () => {
    const { path, fault } = writeWith(1e6, "float16");
    expect(fault?.message).toContain("too large for float16");
    expect(fault?.hint).toContain("bfloat16");
    expect(existsSync(path)).toBe(false);
    expect(writeWith(1e6, "bfloat16").fault).toBeUndefined();
    rmSync(path, { recursive: true });
  });
});
