import { Linear, Module, scope, type Tensor, UserError } from "@spo/torch";

/**
 * Indices of the linear maps in the published list. Between them is dropout and no activation, so the whole is one linear map in five
 * parts.
 */
const PLACES = [0, 2, 4, 6, 7] as const;
type Widths = readonly [number, number, number, number, number, number];

/** What maps features to a score, in the aesthetic predictor and in ImageReward. [n, width] → [n]. */
export class ScoreMlp extends Module {
  /** By the file's numbers; what is no linear map there is dropout, which scoring does not have. */
  readonly layers: readonly (Linear | "dropout")[];

  constructor(widths: Widths) {
    super();
    this.layers = Array.from({ length: 8 }, (_, place) => {
      const i = PLACES.indexOf(place as (typeof PLACES)[number]);
      return i < 0 ? "dropout" : new Linear(widths[i] as number, widths[i + 1] as number);
    });
  }

  forward(x: Tensor): Tensor {
    return scope(() =>
      this.layers.reduce<Tensor>((h, layer) => (layer === "dropout" ? h : layer.forward(h)), x).squeeze(-1),
    );
  }
}

/**
 * The widths of a head, from its file. weights: under `prefix`, as `layers.0.weight`.
 *
 * Throws a UserError (`DATA`) where a file holds no such head.
 */
export function scoreMlpWidths(weights: ReadonlyMap<string, Tensor>, source: string, prefix = ""): Widths {
  const shapes = PLACES.map((place) => weights.get(`${prefix}layers.${place}.weight`)?.shape);
  if (shapes.some((shape) => shape?.length !== 2) || shapes.at(-1)?.[0] !== 1) {
    const missing = PLACES.map((place) => `${prefix}layers.${place}.weight`).filter(
      (name) => !weights.has(name),
    );
    throw new UserError(
      `${source} holds no head of scores: ${missing.length > 0 ? `it has no ${missing.join(", ")}` : "its last map does not end in one number"}.`,
      { code: "DATA", hint: "Give the file that its authors publish, as sac+logos+ava1-l14-linearMSE.pth." },
    );
  }
  const [a, b, c, d, e] = shapes.map((shape) => shape?.[1]) as [number, number, number, number, number];
  return [a, b, c, d, e, 1];
}
