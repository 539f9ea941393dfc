import os

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from serve import Case, serve, some

COMPARED = [
    "conv_in.weight",
    "time_embedding.linear_1.bias",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    "down_blocks.1.resnets.0.conv_shortcut.weight",
    "mid_block.resnets.0.norm1.weight",
    "conv_out.weight",
]
TIMESTEP = 501


def make(folder):
    def load(name, dtype=torch.float32):
        return UNet2DConditionModel.from_pretrained(os.path.join(folder, name), torch_dtype=dtype)

    def small():
        # By name: the order of the layers in the two classes is not the same.
        return [number for _, weight in sorted(load("unet").named_parameters()) for number in some(weight, 2)]

    def loading(name, dtype):
        def result():
            named = dict(load(name, dtype).named_parameters())
            return [number for each in COMPARED for number in some(named[each])]

        return Case(lambda: load(name, dtype), result)

    inputs = load_file(os.path.join(folder, "inputs.safetensors"))

    @torch.inference_mode()
    def first_pass():
        return load("sd15-unet")(inputs["sample"], TIMESTEP, encoder_hidden_states=inputs["context"], return_dict=False)[0]

    return {
        "UNet": Case(lambda: load("unet"), small),
        "SD1.5, float32, load": loading("sd15-unet", torch.float32),
        "SD1.5, float32, load + first forward": Case(first_pass, lambda: some(first_pass())),
        "SDXL, bfloat16, load": loading("sdxl-unet", torch.bfloat16),
    }


serve(make)
