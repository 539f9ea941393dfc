import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLIPTextModel, saveModel } from "@spo/diffusion";
import {
  Generator,
  initialize,
  noGrad,
  randn,
  readTorchRecord,
  scope,
  type Tensor,
  type TorchRecord,
  tensor,
  UserError,
  writeTorchRecord,
} from "@spo/torch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tinyLrm } from "../tiny-lrm.fixture.js";
import { TINY } from "../tiny-models.fixture.js";
import { isLrmFolder, loadLrm, saveLrm } from "./lrm-files.js";

const folder = mkdtempSync(join(tmpdir(), "spo-lrm-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

/** A copy of a saved model whose record is changed. */
function changed(from: string, change: (record: Record<string, TorchRecord[string]>) => void): string {
  const to = at("changed");
  rmSync(to, { recursive: true, force: true });
  cpSync(at(from), to, { recursive: true });
  scope(() => {
    const record = { ...readTorchRecord(join(to, "state_dict.pt")) };
    change(record);
    writeTorchRecord(join(to, "state_dict.pt"), record);
  });
  return to;
}

function refusal(path: string): string {
  try {
    loadLrm(path);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message;
  }
  throw new Error("the folder was accepted");
}

beforeAll(() => {
  for (const family of ["sd15", "sdxl"] as const) saveLrm(at(family), tinyLrm(family));
});

describe.each(["sd15", "sdxl"] as const)("a latent reward model of %s", (family) => {
  test.each([
    ["as published", {}],
    ["of the middle alone", { multiScale: false }],
    ["with other enhancement", { guidanceScale: 3, multiScaleCfg: true }],
  ])("%s is read as it was written", (_, settings) => {
    const lrm = tinyLrm(family, settings);
    saveLrm(at("saved"), lrm);
    expect(isLrmFolder(at("saved"))).toBe(true);
    const loaded = loadLrm(at("saved"), { vaeFactor: 2 });
    expect(loaded.settings).toEqual(lrm.settings);
    const weights = loaded.namedParameters();
    expect([...weights.keys()]).toEqual([...lrm.namedParameters().keys()]);
    noGrad(() =>
      scope(() => {
        for (const [name, value] of lrm.namedParameters())
          expect(
            value
              .ne(weights.get(name) as Tensor)
              .any()
              .item(),
            name,
          ).toBe(0);
      }),
    );
    rmSync(at("saved"), { recursive: true });
  });

  test("without the UNet's way up is read and written so, and scores alike", () => {
    const lrm = tinyLrm(family);
    const scores = (of: typeof lrm): number[] =>
      noGrad(() =>
        scope(() => {
          const ids = tensor([[49, 3, 49]], { dtype: "int64" });
          const [texts, away] = [of.encode([ids, ids]), of.encode([ids, ids])];
          const latents = randn([1, 4, 8, 8], { generator: new Generator(3) });
          return of.scores(of.imageFeatures(latents, 400, texts, away), texts.features).toNumbers();
        }),
      );
    const whole = scores(lrm);
    lrm.unet.dropWayUp();
    saveLrm(at("down"), lrm);
    const loaded = loadLrm(at("down"), { vaeFactor: 2 });
    // To rounding: a product's last bits can depend on where in memory its numbers lie.
    for (const [i, score] of scores(loaded).entries()) expect(score).toBeCloseTo(whole[i] as number, 4);
    const names = [...loaded.namedParameters().keys()];
    expect(names.filter((name) => name.startsWith("unet.up_blocks."))).toEqual([]);
    expect(names).toEqual([...lrm.namedParameters().keys()]);
  });

  test("without our config is taken with the published settings", () => {
    rmSync(join(at(family), "config.json"));
    expect(loadLrm(at(family)).settings).toEqual({
      guidanceScale: 7.5,
      multiScale: true,
      multiScaleCfg: false,
    });
  });

  test("reads its scale as a number or as a tensor, as both are published", () => {
    const path = changed(family, (record) => {
      record.logit_scale = tensor([1.5]);
    });
    expect(loadLrm(path).logit_scale.item()).toBe(1.5);
  });

  test.each([["visual_projection"], ["logit_scale"]])("without its %s is refused", (name) => {
    expect(refusal(changed(family, (record) => delete record[name]))).toContain(`has no ${name}`);
  });

  test("with the projection of another UNet is refused with both widths", () => {
    const path = changed(family, (record) => {
      record.visual_projection = { weight: tensor([[1, 2, 3]]) };
    });
    expect(refusal(path)).toMatch(/takes 3 numbers; the UNet beside it gives 40, or 16 of its middle alone/);
  });

  test("with another text encoder is refused with both widths", () => {
    const path = changed(family, () => {});
    const other = new CLIPTextModel({ ...TINY.sd15.text_encoder, hidden_size: 8 });
    initialize(other, new Generator(1));
    saveModel(join(path, "text_encoder"), other);
    const width = family === "sd15" ? 12 : 24;
    expect(refusal(path)).toContain(
      `its UNet attends to states of width ${width}, and its text encoder's have ${width - 4}`,
    );
  });
});

test("SDXL's without its second text encoder is refused", () => {
  const path = changed("sdxl", () => {});
  rmSync(join(path, "text_encoder_2"), { recursive: true });
  expect(refusal(path)).toContain("text_encoder_2 does not exist");
});

test("Stable Diffusion's without its text projection is refused", () => {
  expect(refusal(changed("sd15", (record) => delete record.text_projection))).toContain(
    "has no text_projection",
  );
});

test("weights that are not finite are not written", () => {
  const lrm = tinyLrm("sd15");
  noGrad(() => lrm.visual_projection.weight.fill_(Number.NaN));
  expect(() => saveLrm(at("broken"), lrm)).toThrow(/visual_projection\.weight/);
  expect(isLrmFolder(at("broken"))).toBe(false);
});
