import os

import torch
from diffusers import UNet2DConditionModel
from full_size import Later, prediction, training
from peft import LoraConfig
from safetensors.torch import load_file
from serve import device, serve

TIMESTEP = 501
FIRST = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B"


def make(folder):
    return {
        "SD1.5, float32, forward": Later(lambda: forward(folder, "sd15", torch.float32)),
        "SD1.5, bfloat16, forward": Later(lambda: forward(folder, "sd15", torch.bfloat16)),
        "SD1.5, float32, LoRA, forward + backward": Later(lambda: with_lora(folder, "sd15", torch.float32)),
        "SDXL, bfloat16, forward": Later(lambda: forward(folder, "sdxl", torch.bfloat16)),
    }


def forward(folder, family, dtype):
    _, predict = predictor(folder, family, dtype)
    return prediction(predict)


def with_lora(folder, family, dtype):
    unet, predict = predictor(folder, family, dtype)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    values = load_file(os.path.join(folder, "lora.safetensors"))
    trained = {name: weight for name, weight in unet.named_parameters() if weight.requires_grad}
    assert len(trained) == len(values)
    with torch.no_grad():
        for name, weight in trained.items():
            side = "down" if ".lora_A." in name else "up"
            weight.copy_(values[f"unet.{name.split('.lora_')[0]}.lora.{side}.weight"])
    return training(unet, predict, trained[f"{FIRST}.default.weight"])


def predictor(folder, family, dtype):
    inputs = load_file(os.path.join(folder, "inputs.safetensors"))
    unet = UNet2DConditionModel.from_pretrained(os.path.join(folder, f"{family}-unet"), torch_dtype=dtype).to(device())
    sample, context = inputs["sample"].to(device(), dtype), inputs[f"{family}/context"].to(device(), dtype)
    added = {}
    if family == "sdxl":
        added = {
            "added_cond_kwargs": {
                "text_embeds": inputs["sdxl/text_embeds"].to(device(), dtype),
                "time_ids": inputs["sdxl/time_ids"].to(device()),
            }
        }
    return unet, lambda: unet(sample, TIMESTEP, encoder_hidden_states=context, return_dict=False, **added)[0]


serve(make)
