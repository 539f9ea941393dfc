import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import Case, serve, some


def make(folder):
    maps = load_file(f"{folder}/maps.safetensors")
    cases = {}
    for shape in dict.fromkeys(name.split(" ")[0] for name in maps):
        x, weight, along = (maps[f"{shape} {j}"].contiguous(memory_format=torch.channels_last) for j in range(3))
        leaf = x.clone().requires_grad_()

        @torch.no_grad()
        def forward(x=x, weight=weight):
            return F.conv2d(x, weight, None, 1, 1)

        def gradient(leaf=leaf, weight=weight, along=along):
            return torch.autograd.grad(F.conv2d(leaf, weight, None, 1, 1), leaf, along)[0]

        for name, work in [("forward", forward), ("forward + gradient of the map", gradient)]:
            cases[f"{name} [{shape}]"] = Case(work, lambda work=work: some(work()))
    return cases


serve(make)
