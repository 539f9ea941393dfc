import { Module, scope, type Tensor, tensor } from "@spo/torch";
import { repeatRows } from "./repeat-rows.js";
import type { Tap } from "./tap.js";
import { TimestepEmbedding, timestepEmbedding } from "./timestep-embedding.js";

/** Width of the sinusoids of a time. */
const SINUSOIDS = 256;

/**
 * Sum of the embeddings of time, pooled text and, for a model distilled from guided ones, the guidance scale.
 *
 * t [1 or b] in [0, 1000], pooled [b, pooledDim] → [b, width].
 * Source: diffusers CombinedTimestepTextProjEmbeddings, CombinedTimestepGuidanceTextProjEmbeddings.
 */
export class TimeTextEmbedding extends Module {
  readonly timestep_embedder: TimestepEmbedding;
  readonly guidance_embedder?: TimestepEmbedding;
  readonly text_embedder: TimestepEmbedding;

  constructor(width: number, pooledDim: number, { guidance = false } = {}) {
    super();
    this.timestep_embedder = new TimestepEmbedding(SINUSOIDS, width);
    if (guidance) this.guidance_embedder = new TimestepEmbedding(SINUSOIDS, width);
    this.text_embedder = new TimestepEmbedding(pooledDim, width);
  }

  /** Throws an Error where the model needs a guidance scale and gets none. */
  forward(
    timesteps: Tensor | number,
    pooled: Tensor,
    { guidanceScale, tap }: { guidanceScale?: number; tap?: Tap } = {},
  ): Tensor {
    return scope(() => {
      const { device, dtype } = pooled;
      const rows = pooled.shape[0] as number;
      // One row where all rows share the time; it broadcasts.
      const t = typeof timesteps === "number" ? tensor([timesteps], { device }) : timesteps;
      const sinusoids = timestepEmbedding(t, SINUSOIDS);
      tap?.("time_proj", sinusoids.expand([rows, -1]));
      let temb = this.timestep_embedder.forward(sinusoids.to({ dtype }));
      if (t.shape[0] !== 1) temb = repeatRows(temb, rows);
      tap?.("timestep_embedder", temb.expand([rows, -1]));
      if (this.guidance_embedder) {
        if (guidanceScale === undefined)
          throw new Error("this model is told the guidance scale, and none is given");
        const scale = timestepEmbedding(tensor([1000 * guidanceScale], { device }), SINUSOIDS);
        tap?.("guidance_proj", scale.expand([rows, -1]));
        const guidance = this.guidance_embedder.forward(scale.to({ dtype }));
        tap?.("guidance_embedder", guidance.expand([rows, -1]));
        temb = temb.add(guidance);
      }
      const text = this.text_embedder.forward(pooled);
      tap?.("text_embedder", text);
      temb = temb.add(text);
      tap?.("time_text_embed", temb);
      return temb;
    });
  }
}
