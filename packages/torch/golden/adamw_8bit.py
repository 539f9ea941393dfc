"""Writes adamw-8bit.json: block-wise 8-bit codes and steps of bitsandbytes' AdamW8bit on the CPU.

python adamw_8bit.py adamw-8bit.json, with torch and bitsandbytes. Without weight decay, which bitsandbytes takes after the step and PyTorch before.
"""
import json
import sys

import bitsandbytes
import torch
from bitsandbytes.functional import create_dynamic_map, quantize_blockwise

generator = torch.Generator().manual_seed(0)
values = torch.randn(300, generator=generator) * torch.logspace(-4, 2, 300)
codes = {}
for name, signed in (("signed", True), ("unsigned", False)):
    x = values if signed else values.square()
    code = create_dynamic_map(signed=signed)
    _, state = quantize_blockwise(x, code=code, blocksize=256)
    # The nearest value of the map; the library's own table for CPUs is coarser near 0.
    found = (x / state.absmax.repeat_interleave(256)[:300]).unsqueeze(1).sub(code).abs().argmin(1)
    codes[name] = {"values": x.tolist(), "map": code.tolist(), "codes": found.tolist(), "absmax": state.absmax.tolist()}

shape = [40, 110]  # no whole number of blocks
places = torch.arange(4400, dtype=torch.float64).reshape(shape)
parameter = torch.nn.Parameter(torch.sin(0.37 * places).float())
settings = {"lr": 0.01, "betas": [0.9, 0.99], "eps": 1e-8}
optimizer = bitsandbytes.optim.AdamW8bit([parameter], weight_decay=0, **settings)
sizes, after = [0.1, 3.0, 0.5, 0.01], []
for size in sizes:
    parameter.grad = (size * torch.cos(0.91 * places + size)).float()
    optimizer.step()
    after.append(parameter.detach().flatten()[::37].tolist())
result = {"codes": codes, "shape": shape, "settings": settings, "sizes": sizes, "after": after}
result["versions"] = {"torch": torch.__version__, "bitsandbytes": bitsandbytes.__version__}
with open(sys.argv[1], "w") as file:
    json.dump(result, file)
    file.write("\n")
