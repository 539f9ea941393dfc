import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import Case, serve, some


def make(folder):
    tensors = load_file(f"{folder}/layers.safetensors")
    cases = {}
    for shape in dict.fromkeys(name.split(" ")[0] for name in tensors):
        x, down, up, weight, bias, along = (
            tensors[f"{shape} {name}"] for name in ("x", "down", "up", "weight", "bias", "along")
        )
        leaves = [t.requires_grad_() for t in (x, down, up)]

        def layer(x=x, down=down, up=up, weight=weight, bias=bias):
            return F.linear(x, weight, bias) + F.linear(F.linear(x, down), up)

        @torch.no_grad()
        def forward(layer=layer):
            return layer()

        def gradient(layer=layer, leaves=leaves, along=along):
            return torch.autograd.grad(layer(), leaves, along)[1]

        for name, work in [("forward", forward), ("forward + backward", gradient)]:
            cases[f"{name} [{shape}]"] = Case(work, lambda work=work: some(work()))
    return cases


serve(make)
