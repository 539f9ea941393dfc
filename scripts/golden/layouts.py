"""The same weights in the other layouts they are published in: one file with the original names, shards, float16, old VAE names."""

import json
from pathlib import Path
import shutil

from safetensors.torch import load_file, save_file
import torch

from models import Pipeline, text_weights
from store import save


def write_layouts(pipe: Pipeline, folder: Path) -> None:
    if pipe.unet.mid_block is not None:
        write_single_file(pipe, folder / f"single-file-{pipe.family}.safetensors")
    if pipe.family != "sd15":
        return
    weights = pipe.unet.state_dict()
    size = sum(value.numel() * 4 for value in weights.values())
    pipe.unet.save_pretrained(folder / "sharded-sd15-unet", max_shard_size=size // 3 + 1)
    half = folder / "fp16-sd15-unet"
    half.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pipe.folder / "unet" / "config.json", half / "config.json")
    save_file({name: value.half().contiguous() for name, value in weights.items()}, half / "diffusion_pytorch_model.fp16.safetensors", metadata={"format": "pt"})
    old = folder / "legacy-vae"
    old.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pipe.folder / "vae" / "config.json", old / "config.json")
    renamed = {old_name(name): value for name, value in load_file(pipe.folder / "vae" / "diffusion_pytorch_model.safetensors").items()}
    save_file(renamed, old / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def old_name(name: str) -> str:
    for new, before in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        name = name.replace(f".attentions.0.{new}.", f".attentions.0.{before}.")
    return name


def write_single_file(pipe: Pipeline, path: Path) -> None:
    weights = {f"model.diffusion_model.{name}": value for name, value in unet_names(pipe.unet).items()}
    weights.update({f"first_stage_model.{name}": value for name, value in vae_names(pipe.vae).items()})
    first = text_weights(pipe.text)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    if pipe.text_2 is None:
        weights.update({f"cond_stage_model.transformer.{name}": value for name, value in first.items()})
        extra = {"alphas_cumprod": torch.cumprod(1 - betas, 0), "betas": betas, "model_ema.decay": torch.tensor(0.9999),
                 "model_ema.num_updates": torch.tensor(7)}
        positions = ["cond_stage_model.transformer.text_model.embeddings.position_ids"]
    else:
        weights.update({f"conditioner.embedders.0.transformer.{name}": value for name, value in first.items()})
        weights.update({f"conditioner.embedders.1.model.{name}": value for name, value in open_clip_names(pipe.text_2).items()})
        extra = {"denoiser.sigmas": torch.linspace(0.03, 14.6, 1000), "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6)}
        positions = ["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"]
    save(path, {**weights, **extra}, {"not_weights": [*extra, *positions], "same_weights_as": f"tiny-{pipe.family}"})


def rename(name: str, pairs: dict[str, str]) -> str:
    for before, after in pairs.items():
        name = name.replace(before, after)
    return name


RESNET = {"norm1.": "in_layers.0.", "conv1.": "in_layers.2.", "time_emb_proj.": "emb_layers.1.", "norm2.": "out_layers.0.",
          "conv2.": "out_layers.3.", "conv_shortcut.": "skip_connection."}
TOP = {"time_embedding.linear_1.": "time_embed.0.", "time_embedding.linear_2.": "time_embed.2.", "add_embedding.linear_1.": "label_emb.0.0.",
       "add_embedding.linear_2.": "label_emb.0.2.", "conv_in.": "input_blocks.0.0.", "conv_norm_out.": "out.0.", "conv_out.": "out.2."}


def unet_names(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    """diffusers' UNet → the original one: blocks in one row, each with its resnet (0), attention (1) and up-sampling."""
    places: dict[str, str] = {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2"}
    at = 1
    for i, block in enumerate(unet.down_blocks):
        for j in range(len(block.resnets)):
            places[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{at}.0"
            places[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{at}.1"
            at += 1
        if block.downsamplers:
            places[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{at}.0.op"
            at += 1
    at = 0
    for i, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):
            places[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{at}.0"
            places[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{at}.1"
            at += 1
        places[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{at - 1}.{2 if getattr(block, 'attentions', None) else 1}.conv"
    found = {}
    for name, value in unet.state_dict().items():
        place = next((place for place in places if name.startswith(place + ".")), None)
        if place is None:
            found[rename(name, TOP)] = value
        else:
            rest = name[len(place) :]
            found[places[place] + (rename(rest, RESNET) if ".resnets." in name else rest)] = value
    return found


def vae_names(vae: torch.nn.Module) -> dict[str, torch.Tensor]:
    last = len(vae.config.block_out_channels) - 1
    found = {}
    for name, value in vae.state_dict().items():
        for i in range(last + 1):
            name = rename(name, {f"encoder.down_blocks.{i}.": f"encoder.down.{i}.", f"decoder.up_blocks.{i}.": f"decoder.up.{last - i}."})
        name = rename(name, {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
                             ".resnets.": ".block.", "downsamplers.0.": "downsample.", "upsamplers.0.": "upsample.", "conv_shortcut": "nin_shortcut",
                             "conv_norm_out": "norm_out"})
        if "attn_1" in name:
            name = rename(name, {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"})
            value = value[..., None, None] if value.ndim == 2 else value
        found[name] = value
    return found


def open_clip_names(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    weights = {name.removeprefix("text_model."): value for name, value in text_weights(model).items() if not name.endswith("position_ids")}
    found = {"positional_embedding": weights.pop("embeddings.position_embedding.weight"), "text_projection": weights.pop("text_projection.weight").T}
    for i in range(model.config.num_hidden_layers):
        for kind in ("weight", "bias"):
            parts = [weights.pop(f"encoder.layers.{i}.self_attn.{side}_proj.{kind}") for side in "qkv"]
            found[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(parts)
    names = {"embeddings.token_embedding": "token_embedding", "final_layer_norm": "ln_final", "encoder.layers": "transformer.resblocks",
             "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    return {**found, **{rename(name, names): value for name, value in weights.items()}}
