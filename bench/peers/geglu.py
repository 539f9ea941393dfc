import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import Case, serve, some


def geglu(x):
    value, gate = x.chunk(2, -1)
    return value * F.gelu(gate)


def make(folder):
    cases = {}
    for name_of_rows, x in load_file(f"{folder}/rows.safetensors").items():
        shape, dtype = name_of_rows.split(", ")
        leaf = x.clone().requires_grad_()
        along = x[:, : x.shape[1] // 2].contiguous()

        @torch.no_grad()
        def forward(x=x):
            return geglu(x)

        def gradient(leaf=leaf, along=along):
            return torch.autograd.grad(geglu(leaf), leaf, along)[0]

        for name, work in [("forward", forward), ("forward + backward", gradient)]:
            cases[f"{name} [{shape}], {dtype}"] = Case(work, lambda work=work: some(work()))
    return cases


serve(make)
