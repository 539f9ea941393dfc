"""Files as other tools write them, with what PyTorch reads of them: tests/golden/foreign.

Run: python scripts/golden/foreign_files.py tests/golden/foreign
float8.*: all 256 patterns of each type of eight bits. training-state*.ckpt: weights among what trainers keep beside them.
"""

import argparse
import collections
import enum
import json
import pathlib
import sys
import types

import numpy as np
import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import save_file

FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]


def float8(folder: pathlib.Path) -> None:
    patterns = torch.arange(256, dtype=torch.uint8)
    tensors = {name: patterns.clone().view(getattr(torch, name)) for name in FLOAT8}
    save_file(tensors, folder / "float8.safetensors")
    torch.save({**tensors, "strided": tensors["float8_e5m2"].view(16, 16).T[2:, ::3]}, folder / "float8.pt")
    expected = {name: value.float() for name, value in tensors.items()}
    expected["strided"] = tensors["float8_e5m2"].view(16, 16).T[2:, ::3].float().contiguous()
    save_file(expected, folder / "float8-expected.safetensors")


def stand_in(path: str) -> type:
    """A class that pickles as `path`, of a package that is not installed here."""
    module_name, name = path.rsplit(".", 1)
    parts = module_name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    made = type(name, (dict,), {"__module__": module_name})
    setattr(sys.modules[module_name], name, made)
    return made


class OwnSettings:
    """Of the script that was run: `__main__.OwnSettings`."""

    def __init__(self) -> None:
        self.rate = np.float32(0.1)


def training_states(folder: pathlib.Path) -> None:
    torch.manual_seed(1)
    weights = {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3).half()}
    attribute_dict = stand_in("pytorch_lightning.utilities.parsing.AttributeDict")
    checkpoint = stand_in("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    config = stand_in("omegaconf.dictconfig.DictConfig")
    own = stand_in("somebodys_trainer.config.TrainConfig")
    colour = enum.Enum("Colour", "RED")
    colour.__module__ = "somebodys_trainer.config"
    sys.modules["somebodys_trainer.config"].Colour = colour
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    beside = {
        "epoch": 3,
        "callbacks": {
            checkpoint: {"best_model_score": torch.tensor(0.5), "wait": np.array([1.0, 2.0])},
            "x": {"object": np.array(["a", None], dtype=object), "scalar": np.float64(2.5), "dtype": np.dtype("<i8")},
        },
        "hyper_parameters": attribute_dict(rate=1e-4, path=pathlib.PurePosixPath("a/b"), own=own(x=colour.RED)),
        "config": config(a=[1, 2]),
        "arguments": argparse.Namespace(steps=5),
        "settings": OwnSettings(),
        "counts": collections.Counter("aab"),
        "lists": collections.defaultdict(list, {"k": [1]}),
        "ordered": collections.OrderedDict(z=1),
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtypes": [torch.float16, torch.complex64, torch.float8_e5m2],
        "set": {1, 2},
        "frozen": frozenset({1}),
        "complex": 1 + 2j,
        "range": range(3),
        "random": {"numpy": np.random.default_rng(1), "old": np.random.RandomState(1).get_state(), "torch": torch.get_rng_state()},
        "optimizer_states": [optimizer.state_dict()],
        "big": 2**70,
        "buffer": torch.nn.Buffer(torch.zeros(2)),
    }
    for protocol in (2, 4, 5):
        torch.save({"state_dict": weights, **beside}, folder / f"training-state-{protocol}.ckpt", pickle_protocol=protocol)
    torch.save({**beside, "state_dict": weights}, folder / "training-state-old.ckpt", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "training-state-expected.safetensors")
    torch.save({"state_dict": {**weights, "b.weight": np.zeros(2)}}, folder / "weight-is-an-array.ckpt")
    wrapped = collections.OrderedDict((f"module.{name}", value) for name, value in weights.items())
    torch.save({"model": wrapped, "epoch": 1}, folder / "model-of-data-parallel.pt")


NAMES = [
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
    "down_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.10.resnets.0.conv1",
    "text_model.encoder.layers.11.self_attn.q_proj",
    "to_q",
    "conv_in",
]
PATTERNS = [
    "mid_block\\..*",
    "^mid_block\\..*to_(q|k|v|out\\.0)",
    "to_q",
    "attn1.to_q",
    "attn..to_q",
    "ttn1.to_q",
    "to_out.0",
    "down_blocks\\.\\d+\\..*",
    "down_blocks\\.1\\..*",
    "(?:down|mid)_block",
    "(?:down|mid)_blocks?\\..*",
    ".*to_q$",
    "conv_(in|out)",
    "[a-z]+\\.encoder\\.layers\\.1[01]\\..*",
    "layers\\.[0-9]{1,2}\\.self_attn\\.[qkv]_proj",
    "conv1|conv2",
    "resnets.0",
    "^to_q$",
    "a^to_q",
    "TO_Q",
    "(?i:TO_Q)",
    "to_q|",
    "",
]


def patterns(folder: pathlib.Path) -> None:
    found = [[pattern, name, get_pattern_key([pattern], name) is pattern] for pattern in PATTERNS for name in NAMES]
    (folder / "peft-patterns.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    float8(target)
    training_states(target)
    patterns(target)
