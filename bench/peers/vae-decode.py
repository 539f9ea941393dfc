import os

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from serve import Case, serve, some


def make(folder):
    inputs = load_file(os.path.join(folder, "inputs.safetensors"))
    vae = AutoencoderKL.from_pretrained(os.path.join(folder, "vae")).eval()

    def case(latents):
        @torch.no_grad()
        def decode():
            return vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]

        return Case(decode, lambda: some(decode()))

    return {f"batch {batch}": case(latents) for batch, latents in inputs.items()}


serve(make)
