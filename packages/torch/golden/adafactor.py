"""Writes adafactor.json: steps of transformers' Adafactor as Diffusion-DPO uses it for SDXL, in float32 and float64.

python adafactor.py adafactor.json, with torch and transformers. Factored: a matrix and a convolution's kernel; not factored: a vector.
"""
import json
import sys

import torch
import transformers
from transformers.optimization import Adafactor

SETTINGS = {"lr": 0.02, "weight_decay": 0.01}
SHAPES = {"matrix": [3, 5], "kernel": [4, 3, 2, 2], "vector": [6]}
STEPS = 4


def run(dtype):
    generator = torch.Generator().manual_seed(0)
    start = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    # Gradients of very different sizes: in the second step the update is clipped.
    sizes = [0.1, 3.0, 0.5, 0.01]
    gradients = [
        {name: size * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()} for size in sizes
    ]
    parameters = {name: torch.nn.Parameter(value.to(dtype, copy=True)) for name, value in start.items()}
    optimizer = Adafactor(
        parameters.values(), scale_parameter=False, relative_step=False, clip_threshold=1.0, **SETTINGS
    )
    after = []
    for step in gradients:
        for name, gradient in step.items():
            parameters[name].grad = gradient.to(dtype)
        optimizer.step()
        after.append({name: value.detach().flatten().tolist() for name, value in parameters.items()})
    flat = lambda values: {name: value.flatten().tolist() for name, value in values.items()}
    return flat(start), [flat(step) for step in gradients], after


start, gradients, after = run(torch.float32)
_, _, after64 = run(torch.float64)
golden = {
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    "settings": SETTINGS,
    "shapes": SHAPES,
    "start": start,
    "gradients": gradients,
    "after": after,
    "after64": after64,
}
with open(sys.argv[1], "w") as file:
    json.dump(golden, file)
    file.write("\n")
