// The transformer of FLUX.1 under the names of Black Forest Labs' code. Source: diffusers
// `convert_flux_transformer_checkpoint_to_diffusers`.
import { FluxTransformer2DConfig } from "../models/flux-transformer-2d.js";
import { fusedQkv, type OriginalModule } from "./original-modules.js";

/** All modules of a transformer. */
export function fluxModules(config: FluxTransformer2DConfig): OriginalModule[] {
  const sizes = FluxTransformer2DConfig.parse(config);
  const width = sizes.num_attention_heads * sizes.attention_head_dim;
  const modules: OriginalModule[] = [
    { ours: ["x_embedder"], original: "img_in" },
    { ours: ["context_embedder"], original: "txt_in" },
    { ours: ["norm_out.linear"], original: "final_layer.adaLN_modulation.1", halvesSwapped: true },
    { ours: ["proj_out"], original: "final_layer.linear" },
  ];
  const embedders = {
    timestep_embedder: "time_in",
    text_embedder: "vector_in",
    guidance_embedder: "guidance_in",
  };
  for (const [ours, original] of Object.entries(embedders))
    modules.push(
      { ours: [`time_text_embed.${ours}.linear_1`], original: `${original}.in_layer` },
      { ours: [`time_text_embed.${ours}.linear_2`], original: `${original}.out_layer` },
    );
  for (let i = 0; i < sizes.num_layers; i++) {
    const block = `transformer_blocks.${i}.`;
    const sides = {
      img: { out: "to_out.0", suffix: "", norm: "norm1", qkv: ["to_q", "to_k", "to_v"], norms: "norm_" },
      txt: {
        out: "to_add_out",
        suffix: "_context",
        norm: "norm1_context",
        qkv: ["add_q_proj", "add_k_proj", "add_v_proj"],
        norms: "norm_added_",
      },
    };
    for (const [side, { out, suffix, norm, qkv, norms }] of Object.entries(sides)) {
      const original = `double_blocks.${i}.${side}_`;
      modules.push(
        { ours: [`${block}${norm}.linear`], original: `${original}mod.lin` },
        fusedQkv(`${original}attn.qkv`, `${block}attn.`, qkv),
        { ours: [`${block}attn.${out}`], original: `${original}attn.proj` },
        { ours: [`${block}attn.${norms}q`], original: `${original}attn.norm.query_norm`, weight: "scale" },
        { ours: [`${block}attn.${norms}k`], original: `${original}attn.norm.key_norm`, weight: "scale" },
        { ours: [`${block}ff${suffix}.net.0.proj`], original: `${original}mlp.0` },
        { ours: [`${block}ff${suffix}.net.2`], original: `${original}mlp.2` },
      );
    }
  }
  for (let i = 0; i < sizes.num_single_layers; i++) {
    const block = `single_transformer_blocks.${i}.`;
    const original = `single_blocks.${i}.`;
    modules.push(
      { ours: [`${block}norm.linear`], original: `${original}modulation.lin` },
      {
        ours: ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"].map((name) => block + name),
        rows: [width, width, width, 4 * width],
        original: `${original}linear1`,
      },
      { ours: [`${block}proj_out`], original: `${original}linear2` },
      { ours: [`${block}attn.norm_q`], original: `${original}norm.query_norm`, weight: "scale" },
      { ours: [`${block}attn.norm_k`], original: `${original}norm.key_norm`, weight: "scale" },
    );
  }
  return modules;
}
