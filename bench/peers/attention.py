import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import Case, serve, some


def make(folder):
    tokens = load_file(f"{folder}/tokens.safetensors")
    cases = {}
    for shape in dict.fromkeys(name.split(" ")[0] for name in tokens):
        q, k, v = (tokens[f"{shape} {j}"].transpose(1, 2) for j in range(3))
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]

        @torch.no_grad()
        def forward(q=q, k=k, v=v):
            return F.scaled_dot_product_attention(q, k, v)

        def gradient(leaves=leaves, along=q):
            return torch.autograd.grad(F.scaled_dot_product_attention(*leaves), leaves, along)[0]

        for name, work in [("forward", forward), ("forward + backward", gradient)]:
            cases[f"{name} [{shape}]"] = Case(work, lambda work=work: some(work()))
    return cases


serve(make)
