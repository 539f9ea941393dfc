import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import Case, serve, some


def make(folder):
    tensors = load_file(f"{folder}/layers.safetensors")
    cases = {}
    for shape in dict.fromkeys(name.split(" ")[0] for name in tensors):

        @torch.no_grad()
        def work(layer=[tensors[f"{shape} {name}"] for name in ("x", "weight", "bias")]):
            return F.linear(*layer)

        cases[f"forward [{shape}]"] = Case(work, lambda work=work: some(work()))
    return cases


serve(make)
