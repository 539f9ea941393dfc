"""Pipelines with the config values of checkpoints that people have, and the image that diffusers draws with each.

    python scripts/golden/checkpoints.py --models tests/golden/small --out tests/golden/checkpoints

A case has what differs from `tests/golden/small/tiny-FAMILY`: the folders of its own models, its scheduler, and `image.safetensors` with the image
[h, w, 3] in [0, 1] and the call's settings. Needs torch, diffusers, transformers and safetensors; one thread, float32 on the CPU.
"""

import argparse
import json
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import logging
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from models import BETAS, make_tokenizer, spread
from store import save, write_json

DOWN, CROSS_DOWN, UP, CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
TINY = dict(in_channels=4, out_channels=4, norm_num_groups=2, sample_size=8)
SD = dict(TINY, cross_attention_dim=8, attention_head_dim=2)
XL = dict(TINY, cross_attention_dim=14, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=2,
          projection_class_embeddings_input_dim=22)
TRAILING = dict(timestep_spacing="trailing")

CASES: dict[str, dict] = {
    # SSD-1B: as many transformer blocks behind each residual block as were left there, and no attention in the middle.
    "ssd-1b": dict(
        family="sdxl", scheduler=(EulerDiscreteScheduler, {}), call=dict(guidance_scale=5.0, num_inference_steps=4),
        unet=dict(XL, block_out_channels=[4, 6, 8], layers_per_block=2, attention_head_dim=[1, 2, 4], mid_block_type="UNetMidBlock2D",
                  down_block_types=[DOWN, CROSS_DOWN, CROSS_DOWN], up_block_types=[CROSS_UP, CROSS_UP, UP],
                  transformer_layers_per_block=[1, [2, 1], [2, 3]], reverse_transformer_layers_per_block=[[2, 1, 3], [1, 2, 1], 1])),
    # The distilled Stable Diffusion 1.x ("tiny"): three levels of one layer, no middle; here also layers by level.
    "tiny-sd": dict(
        family="sd15", scheduler=(DDIMScheduler, {}), call=dict(guidance_scale=7.0, num_inference_steps=4),
        unet=dict(SD, block_out_channels=[4, 6, 8], layers_per_block=[1, 2, 1], mid_block_type=None, down_block_types=[CROSS_DOWN] * 3,
                  up_block_types=[CROSS_UP] * 3, transformer_layers_per_block=[2, 1, 1])),
    # A latent consistency model: told the guidance scale, drawn by one pass a step.
    "lcm": dict(
        family="sd15", scheduler=(DDIMScheduler, {}), call=dict(guidance_scale=8.5, num_inference_steps=3),
        unet=dict(SD, block_out_channels=[4, 8], layers_per_block=1, time_cond_proj_dim=6, down_block_types=[CROSS_DOWN, DOWN],
                  up_block_types=[UP, CROSS_UP])),
    # Stable Diffusion 2.1: another text encoder, padded with "!", linear projections, heads by level, v-prediction.
    "sd2-v": dict(
        family="sd15", text=True, scheduler=(DDIMScheduler, dict(prediction_type="v_prediction")),
        call=dict(guidance_scale=7.5, num_inference_steps=4),
        unet=dict(SD, block_out_channels=[4, 8], layers_per_block=1, attention_head_dim=[1, 2], cross_attention_dim=10, use_linear_projection=True,
                  down_block_types=[CROSS_DOWN, DOWN], up_block_types=[UP, CROSS_UP], upcast_attention=True)),
    # Turbo models: one step without guidance, from the end of the schedule.
    "sd-turbo": dict(family="sd15", like="sd2-v", scheduler=(EulerDiscreteScheduler, TRAILING), call=dict(guidance_scale=0.0, num_inference_steps=1)),
    "sdxl-turbo": dict(family="sdxl", like="ssd-1b", scheduler=(EulerAncestralDiscreteScheduler, TRAILING),
                       call=dict(guidance_scale=0.0, num_inference_steps=1)),
    # A VAE with the statistics of its latents.
    "latent-statistics": dict(
        family="sdxl", like="ssd-1b", scheduler=(EulerDiscreteScheduler, {}), call=dict(guidance_scale=3.0, num_inference_steps=2),
        vae=dict(latents_mean=[-1.6, 1.3, 0.4, -0.2], latents_std=[8.4, 5.9, 4.6, 2.4], scaling_factor=0.5, force_upcast=False)),
}
PROMPT = "two cats, oil painting, 4k"


def draw(name: str, case: dict, models: Path, out: Path) -> None:
    torch.manual_seed(len(name))
    folder, xl = out / name, case["family"] == "sdxl"
    parts = {}
    if "unet" in case:
        parts["unet"] = UNet2DConditionModel(**case["unet"])
        spread(parts["unet"])
        parts["unet"].save_pretrained(folder / "unet")
    elif "like" in case:
        parts["unet"] = UNet2DConditionModel.from_pretrained(out / case["like"] / "unet")
    if "vae" in case:
        parts["vae"] = AutoencoderKL.from_config({**AutoencoderKL.load_config(models / "tiny-sdxl" / "vae"), **case["vae"]})
        spread(parts["vae"])
        parts["vae"].save_pretrained(folder / "vae")
    if "text" in case:
        config = CLIPTextConfig(vocab_size=664, hidden_size=10, num_attention_heads=2, num_hidden_layers=2, intermediate_size=12, hidden_act="gelu",
                                projection_dim=512, eos_token_id=2, pad_token_id=1)
        parts["text_encoder"] = CLIPTextModel(config).eval()
        parts["text_encoder"].save_pretrained(folder / "text_encoder")
    elif case.get("like") == "sd2-v":
        parts["text_encoder"] = CLIPTextModel.from_pretrained(out / "sd2-v" / "text_encoder")
    pipe = (StableDiffusionXLPipeline if xl else StableDiffusionPipeline).from_pretrained(models / f"tiny-{case['family']}", **parts)
    if "text_encoder" in parts:
        pipe.tokenizer = make_tokenizer(models / "tiny-sd15" / "tokenizer", out / "sd2-v" / "tokenizer", "!")
    scheduler, options = case["scheduler"]
    pipe.scheduler = scheduler.from_config({**BETAS, **options})
    pipe.scheduler.save_pretrained(folder / "scheduler")
    index = json.loads((models / f"tiny-{case['family']}" / "model_index.json").read_text())
    write_json(folder / "model_index.json", {**index, "scheduler": ["diffusers", scheduler.__name__]})
    pipe.set_progress_bar_config(disable=True)
    factor = pipe.vae_scale_factor
    side = 8 * factor
    negative = {"negative_prompt": "blurry"} if case["call"]["guidance_scale"] > 1 and "latents" not in name else {}
    seed = 7
    generator = torch.Generator().manual_seed(seed)
    image = pipe(PROMPT, height=side, width=side, generator=generator, output_type="pt", **negative, **case["call"]).images[0]
    settings = {"family": case["family"], "like": case.get("like"), "prompt": PROMPT, "seed": seed,
                **negative, **case["call"]}
    save(folder / "image.safetensors", {"image": image.permute(1, 2, 0)}, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)
    for name, case in CASES.items():
        print(name, flush=True)
        draw(name, case, options.models, options.out)
    write_json(options.out / "cases.json", list(CASES))


if __name__ == "__main__":
    main()
