"""Writes golden files: contiguous tensors by name, and the settings as JSON in the metadata entry `meta`."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def save(path: Path, tensors: dict[str, torch.Tensor], meta: dict | None = None) -> None:
    """Floats as float32, whole numbers as int64, booleans as uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: _plain(value) for name, value in tensors.items()}
    save_file(plain, path, metadata={"meta": json.dumps(meta or {}, sort_keys=True)})


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def errors(single: dict[str, torch.Tensor], double: dict[str, torch.Tensor]) -> dict[str, float]:
    """Largest difference between the float32 values and those of a float64 run of the same computation."""
    return {
        name: (single[name].double() - double[name].double()).abs().max().item()
        for name in single
        if name in double and single[name].is_floating_point()
    }


def _plain(value: torch.Tensor) -> torch.Tensor:
    if value.is_floating_point():
        value = value.to(torch.float32)
    elif value.dtype == torch.bool:
        value = value.to(torch.uint8)
    elif value.dtype != torch.uint8:
        value = value.to(torch.int64)
    return value.detach().clone().contiguous()
