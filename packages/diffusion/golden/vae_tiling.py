"""Makes vae-tiling.safetensors: what diffusers' AutoencoderKL gives by tiles, for a tiny VAE with random weights.

    python vae_tiling.py        (torch 2.15.0, diffusers 0.42.1)

Tiles are 16 pixels or 4 latents. Sizes: one tile, whole steps, a last tile that is short, a last tile that lies in the one before, one side only.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

CONFIG = {
    "block_out_channels": [4, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "sample_size": 16,
}
LATENTS = [(4, 4), (7, 7), (9, 6), (8, 13), (3, 10)]

torch.manual_seed(5)
torch.set_grad_enabled(False)
torch.set_num_threads(1)
vae = AutoencoderKL(**CONFIG).eval()
for parameter in vae.parameters():
    parameter.add_(0.1 * torch.randn_like(parameter))
double = AutoencoderKL(**CONFIG).eval().double()
double.load_state_dict(vae.state_dict())

tensors = {f"weights/{name}": value for name, value in vae.state_dict().items()}
errors = {}
for each in (vae, double):
    each.enable_tiling()
for i, (height, width) in enumerate(LATENTS):
    z = torch.randn(2, 4, height, width)
    x = torch.rand(1, 3, 4 * height, 4 * width) * 2 - 1
    found = {f"decoded.{i}": vae.decode(z).sample, f"moments.{i}": vae._encode(x)}
    exact = {f"decoded.{i}": double.decode(z.double()).sample, f"moments.{i}": double._encode(x.double())}
    errors |= {name: (value.double() - exact[name]).abs().max().item() for name, value in found.items()}
    tensors |= {f"latents.{i}": z, f"pixels.{i}": x, **found}

meta = {"config": CONFIG, "count": len(LATENTS), "fp32_error_vs_fp64": errors}
path = Path(__file__).with_name("vae-tiling.safetensors")
save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata={"meta": json.dumps(meta)})
