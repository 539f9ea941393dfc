"""`torch-bin/`: what `torch.save` writes, beside the tensors that must come out of it."""

from pathlib import Path

import torch
from safetensors.torch import save_file


class Opens:
    """Unpickled without care, this creates a file."""

    def __reduce__(self):
        return open, ("pickle-was-executed.txt", "w")


def write_torch_bin(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    base = torch.randn(5, 6)
    mixed = {
        "float32": base, "float16": base.half(), "bfloat16": base.bfloat16(), "float64": base.double(), "int64": torch.arange(7),
        "int32": torch.arange(-3, 3, dtype=torch.int32), "uint8": torch.arange(250, 256, dtype=torch.uint8), "bool": base > 0,
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "transposed": base.T, "strided": base[::2, 1::3], "offset": base[2:4],
        "expanded": torch.randn(3, 1).expand(3, 5), "shares": base.reshape(-1)[7:11],
    }
    parameters = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    legacy = {"weight": torch.randn(2, 9), "view": torch.randn(4, 4)[1:, ::2]}
    write(folder / "mixed", mixed, mixed)
    write(folder / "parameters", dict(parameters.named_parameters()), parameters.state_dict(keep_vars=True))
    write(folder / "nested", parameters.state_dict(), {"state_dict": parameters.state_dict(), "epoch": 3, "note": ["plain", None, 1.5]})
    write(folder / "legacy", legacy, legacy, _use_new_zipfile_serialization=False)
    torch.save({"weight": torch.zeros(2), "other": Opens()}, folder / "malicious-open.bin")


def write(path: Path, tensors: dict[str, torch.Tensor], saved: object, **options) -> None:
    torch.save(saved, path.with_suffix(".bin"), **options)
    save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, path.with_suffix(".safetensors"))
