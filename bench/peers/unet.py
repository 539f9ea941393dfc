import os

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file
from serve import Case, device, serve, some

TIMESTEP = 501
FIRST = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B"


def make(folder):
    return {
        "SD1.5, float32, forward": Later(lambda: prediction(folder, "sd15", torch.float32)),
        "SD1.5, bfloat16, forward": Later(lambda: prediction(folder, "sd15", torch.bfloat16)),
        "SD1.5, float32, LoRA, forward + backward": Later(lambda: training(folder, "sd15", torch.float32)),
        "SDXL, bfloat16, forward": Later(lambda: prediction(folder, "sdxl", torch.bfloat16)),
    }


class Later(Case):
    """Loads the model when it is first asked."""

    def __init__(self, make):
        self.make = make
        self.case = None
        super().__init__(lambda: self.loaded().run(), lambda: self.loaded().result())

    def loaded(self):
        self.case = self.case or self.make()
        return self.case


def prediction(folder, family, dtype):
    _, predict = predictor(folder, family, dtype)
    without = torch.inference_mode()
    return Case(without(predict), without(lambda: some(predict())))


def training(folder, family, dtype):
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

    def run():
        predict().square().mean().backward()
        unet.zero_grad(set_to_none=True)

    def result():
        predict().square().mean().backward()
        numbers = some(trained[f"{FIRST}.default.weight"].grad)
        unet.zero_grad(set_to_none=True)
        return numbers

    return Case(run, result)


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
