// The transformer of Stable Diffusion 3 and 3.5 under the names of Stability's code. Source: diffusers
// `convert_sd3_transformer_checkpoint_to_diffusers`.
import { SD3Transformer2DConfig } from "../models/sd3-transformer-2d.js";
import { fusedQkv, type OriginalModule } from "./original-modules.js";

/** Names of the tables that are no module's weight, [ours, original]. */
export const SD3_TENSORS = [["pos_embed.pos_embed", "pos_embed"]] as const;

/** All modules of a transformer. */
export function sd3Modules(config: SD3Transformer2DConfig): OriginalModule[] {
  const sizes = SD3Transformer2DConfig.parse(config);
  const modules: OriginalModule[] = [
    { ours: ["pos_embed.proj"], original: "x_embedder.proj" },
    { ours: ["time_text_embed.timestep_embedder.linear_1"], original: "t_embedder.mlp.0" },
    { ours: ["time_text_embed.timestep_embedder.linear_2"], original: "t_embedder.mlp.2" },
    { ours: ["time_text_embed.text_embedder.linear_1"], original: "y_embedder.mlp.0" },
    { ours: ["time_text_embed.text_embedder.linear_2"], original: "y_embedder.mlp.2" },
    { ours: ["context_embedder"], original: "context_embedder" },
    { ours: ["norm_out.linear"], original: "final_layer.adaLN_modulation.1", halvesSwapped: true },
    { ours: ["proj_out"], original: "final_layer.linear" },
  ];
  for (let i = 0; i < sizes.num_layers; i++) {
    const block = `transformer_blocks.${i}.`;
    const last = i === sizes.num_layers - 1;
    const [image, text] = [`joint_blocks.${i}.x_block.`, `joint_blocks.${i}.context_block.`];
    modules.push(
      { ours: [`${block}norm1.linear`], original: `${image}adaLN_modulation.1` },
      // The last block's norm of the text is of the form that has the scale first.
      { ours: [`${block}norm1_context.linear`], original: `${text}adaLN_modulation.1`, halvesSwapped: last },
      fusedQkv(`${image}attn.qkv`, `${block}attn.`),
      fusedQkv(`${text}attn.qkv`, `${block}attn.`, ["add_q_proj", "add_k_proj", "add_v_proj"]),
      { ours: [`${block}attn.to_out.0`], original: `${image}attn.proj` },
      { ours: [`${block}attn.norm_q`], original: `${image}attn.ln_q` },
      { ours: [`${block}attn.norm_k`], original: `${image}attn.ln_k` },
      { ours: [`${block}attn.norm_added_q`], original: `${text}attn.ln_q` },
      { ours: [`${block}attn.norm_added_k`], original: `${text}attn.ln_k` },
      { ours: [`${block}ff.net.0.proj`], original: `${image}mlp.fc1` },
      { ours: [`${block}ff.net.2`], original: `${image}mlp.fc2` },
    );
    if (!last)
      modules.push(
        { ours: [`${block}attn.to_add_out`], original: `${text}attn.proj` },
        { ours: [`${block}ff_context.net.0.proj`], original: `${text}mlp.fc1` },
        { ours: [`${block}ff_context.net.2`], original: `${text}mlp.fc2` },
      );
    if (sizes.dual_attention_layers.includes(i))
      modules.push(
        fusedQkv(`${image}attn2.qkv`, `${block}attn2.`),
        { ours: [`${block}attn2.to_out.0`], original: `${image}attn2.proj` },
        { ours: [`${block}attn2.norm_q`], original: `${image}attn2.ln_q` },
        { ours: [`${block}attn2.norm_k`], original: `${image}attn2.ln_k` },
      );
  }
  return modules;
}
