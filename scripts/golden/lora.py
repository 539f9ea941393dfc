"""The same adapter on all attention projections in three layouts, and the UNet's outputs with it."""

from copy import deepcopy
from pathlib import Path

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from models import Pipeline, predict
from store import save

TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]


def adapted(pipe: Pipeline, rank: int, strength: float = 0.3) -> torch.nn.Module:
    """A copy of the UNet with an adapter that changes its output."""
    unet = deepcopy(pipe.unet)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS))
    with torch.no_grad():
        for name, value in unet.named_parameters():
            if "lora_B" in name:
                value.normal_(0, strength / rank**0.5)
    return unet


def adapter_parameters(unet: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Trainable weights by their names in the diffusers layout."""
    return {
        f"unet.{name}".replace(".default.weight", ".weight").replace("lora_A", "lora.down").replace("lora_B", "lora.up"): value
        for name, value in unet.named_parameters()
        if "lora_" in name
    }


@torch.no_grad()
def write_lora(pipe: Pipeline, folder: Path, settings: dict, seed: int) -> None:
    torch.manual_seed(seed)
    rank = settings["rank"]
    unet = adapted(pipe, rank)
    weights = {name: value.clone() for name, value in get_peft_model_state_dict(unet).items()}
    alpha = rank / 2 if pipe.family == "sdxl" else float(rank)
    family = pipe.family
    save(folder / f"lora-{family}-peft.safetensors", {f"unet.{name}": value for name, value in weights.items()}, {"rank": rank, "alpha": rank})
    diffusers = {f"unet.{name}".replace("lora_A", "lora.down").replace("lora_B", "lora.up"): value for name, value in weights.items()}
    save(folder / f"lora-{family}-diffusers.safetensors", diffusers)
    kohya = {}
    for name, value in weights.items():
        module, side = name.rsplit(".lora_", 1)
        flat = "lora_unet_" + (original_name(module, unet) if family == "sdxl" else module).replace(".", "_")
        up = side.startswith("B")
        kohya[f"{flat}.lora_{'up' if up else 'down'}.weight"] = value * (rank / alpha) if up else value
        kohya[f"{flat}.alpha"] = torch.tensor(float(alpha))
    save(folder / f"lora-{family}-kohya.safetensors", kohya, {"rank": rank, "alpha": alpha})

    prompts = ["a red house", "two birds on a wire"]
    embedded = pipe.embed(prompts)
    inputs = {"sample": torch.randn(pipe.latent_shape(2)), "timestep": torch.tensor([settings["timesteps"][1]]), "context": embedded["prompt_embeds"]}
    if "pooled" in embedded:
        height, width = pipe.image_size
        inputs.update(text_embeds=embedded["pooled"], time_ids=torch.tensor([[height, width, 0, 0, height, width]] * 2, dtype=torch.float32))
    run = lambda model, **rest: predict(model, inputs["sample"], inputs["timestep"], inputs["context"], inputs.get("text_embeds"), inputs.get("time_ids"), **rest)
    outputs = {"out_base": run(pipe.unet)}
    for scale in (1.0, 0.7, 0.0):
        outputs[f"out_scale_{scale}"] = run(unet, cross_attention_kwargs={"scale": scale})
    save(folder / f"expected-lora-{family}.safetensors", {**inputs, **outputs}, {"rank": rank, "kohya_alpha": alpha, "targets": TARGETS})


def original_name(module: str, unet: torch.nn.Module) -> str:
    """diffusers' name of a module inside an attention → the name in the original SDXL code."""
    kind, *rest = module.split(".")
    if kind == "mid_block":
        return ".".join(["middle_block", "1", *rest[2:]])
    level, _, layer, *tail = rest
    blocks = unet.down_blocks if kind == "down_blocks" else unet.up_blocks
    before = sum(len(block.resnets) for block in blocks[: int(level)])
    if kind == "down_blocks":  # each level above also has its down-sampling, and `conv_in` is block 0
        return ".".join(["input_blocks", str(1 + before + int(level) + int(layer)), "1", *tail])
    return ".".join(["output_blocks", str(before + int(layer)), "1", *tail])
