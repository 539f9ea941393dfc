import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import Case, serve, some


def make(folder):
    cases = {}
    for name_of_map, x in load_file(f"{folder}/maps.safetensors").items():
        shape, dtype = name_of_map.split(", ")
        x = x.contiguous(memory_format=torch.channels_last)
        leaf = x.clone().requires_grad_()
        weight, bias = torch.ones(x.shape[1], dtype=x.dtype), torch.zeros(x.shape[1], dtype=x.dtype)

        @torch.no_grad()
        def forward(x=x, weight=weight, bias=bias):
            return F.silu(F.group_norm(x, 32, weight, bias, 1e-5))

        def gradient(x=x, leaf=leaf, weight=weight, bias=bias):
            y = F.silu(F.group_norm(leaf, 32, weight, bias, 1e-5))
            return torch.autograd.grad(y, leaf, x)[0]

        for name, work in [("forward", forward), ("forward + backward", gradient)]:
            cases[f"{name} [{shape}], {dtype}"] = Case(work, lambda work=work: some(work()))
    return cases


serve(make)
