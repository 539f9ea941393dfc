import os

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from serve import Case, serve


def make(folder):
    inputs = load_file(os.path.join(folder, "inputs.safetensors"))
    unet = UNet2DConditionModel.from_pretrained(os.path.join(folder, "unet")).train()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, fused=True)
    losses = []

    def step():
        predicted = unet(inputs["sample"], inputs["timesteps"], encoder_hidden_states=inputs["context"], return_dict=False)[0]
        loss = F.mse_loss(predicted, inputs["noise"])
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def result():
        for _ in range(3):
            step()
        return losses

    return {"step": Case(step, result)}


serve(make)
