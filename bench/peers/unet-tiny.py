import os

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from serve import Case, serve, some

FIXTURE = os.path.join(os.path.dirname(__file__), "../../../shared/fixtures/tiny-sd15/unet")


def make(folder):
    inputs = load_file(os.path.join(folder, "inputs.safetensors"))
    models = {"32/64/128": os.path.join(folder, "unet"), "tiny-sd15": FIXTURE}
    cases = {}
    for key in sorted({key.rsplit("/", 1)[0] for key in inputs}):
        name, batch = key.rsplit("/", 1)
        if not isinstance(models[name], torch.nn.Module):
            models[name] = UNet2DConditionModel.from_pretrained(models[name]).eval()
        cases |= both(models[name], name, batch, *(inputs[f"{key}/{what}"] for what in ("sample", "timesteps", "context")))
    return cases


def both(unet, name, batch, sample, timesteps, context):
    def predict():
        return unet(sample, timesteps, encoder_hidden_states=context, return_dict=False)[0]

    def backward():
        predict().square().mean().backward()
        unet.zero_grad(set_to_none=True)

    def gradient():
        predict().square().mean().backward()
        found = some(unet.conv_in.weight.grad)
        unet.zero_grad(set_to_none=True)
        return found

    without = torch.no_grad()
    return {
        f"{name}, batch {batch}, forward": Case(without(predict), without(lambda: some(predict()))),
        f"{name}, batch {batch}, forward + backward": Case(backward, gradient),
    }


serve(make)
