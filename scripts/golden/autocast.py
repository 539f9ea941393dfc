"""One training step of a LoRA in half precision as Python does it.

Frozen weights are in the dtype, the adapter is in float32, and torch.autocast is around the forward.

    python scripts/golden/autocast.py --models tests/golden/small --out tests/golden/autocast

Writes `step-FAMILY.safetensors`: the inputs, and for each dtype the prediction, the loss and the gradient of every weight of the adapter. In float16 the loss is
multiplied by 65536 before backward and the gradients divided after it. Needs torch, diffusers, peft and safetensors; one thread, on the CPU.
"""

import argparse
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import logging
from safetensors.torch import load_file

from lora import adapter_parameters
from store import save

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def step(models: Path, family: str, dtype: torch.dtype, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    unet = UNet2DConditionModel.from_pretrained(models / f"tiny-{family}" / "unet", torch_dtype=dtype).requires_grad_(False)
    unet.load_lora_adapter(load_file(models / f"lora-{family}-peft.safetensors"), prefix="unet")
    parameters = adapter_parameters(unet)
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_()
    added = {name: inputs[name].to(dtype) if name == "text_embeds" else inputs[name] for name in ("text_embeds", "time_ids") if name in inputs}
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        prediction = unet(inputs["sample"].to(dtype), 401, inputs["context"].to(dtype), added_cond_kwargs=added or None).sample.float()
    loss = torch.nn.functional.mse_loss(prediction, inputs["noise"])
    scale = 65536 if dtype == torch.float16 else 1
    (loss * scale).backward()
    gradients = {f"grad.{name.replace('.default_0.', '.')}": parameter.grad / scale for name, parameter in parameters.items()}
    return {"prediction": prediction.detach(), "loss": loss.detach(), **gradients}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    options.out.mkdir(parents=True, exist_ok=True)
    for family in ("sd15", "sdxl"):
        torch.manual_seed(1)
        config = UNet2DConditionModel.load_config(options.models / f"tiny-{family}" / "unet")
        shape = (3, config["in_channels"], 8, 8)
        inputs = {"sample": torch.randn(shape), "noise": torch.randn(shape), "context": torch.randn(3, 7, config["cross_attention_dim"])}
        if family == "sdxl":
            pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
            inputs |= {"text_embeds": torch.randn(3, pooled), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 3)}
        values = {f"input.{name}": value for name, value in inputs.items()}
        for name, dtype in DTYPES.items():
            values |= {f"{name}.{key}": value for key, value in step(options.models, family, dtype, inputs).items()}
        save(options.out / f"step-{family}.safetensors", values)


if __name__ == "__main__":
    main()
