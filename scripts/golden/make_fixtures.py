"""Makes a folder of golden fixtures from the Python reference libraries, for one variant of the models.

    python scripts/golden/make_fixtures.py --variant deep --tokenizer PATH --out PATH [--seed 1] [--only SUBSTRING,…]

The repository's own `tests/golden/` is `--variant small` with the first 150 merges of CLIP's tokenizer.

The text, UNet, VAE, sampling and LoRA values come from diffusers, transformers and peft; the preference model, the losses and the
resampler are written here from their formulas. `variants.py` says how the variants differ. `--tokenizer` is a folder with CLIP's
`vocab.json` and `merges.txt`, or those of any CLIP-like byte-level BPE: a small vocabulary makes small folders.

Needs torch, diffusers, transformers, peft and safetensors. One thread, float32 on the CPU: the same seed gives the same files.
"""

import argparse
import json
from pathlib import Path

from diffusers.utils import logging
import torch

from expected import write_expected
from layouts import write_layouts
from lora import write_lora
from losses import write_adamw, write_decisions, write_dpo, write_noising, write_spm_loss, write_spo
from models import build, make_tokenizer, tokenize
from rollout import write_rollout
from spm import build_spm, write_expected_spm, write_preprocess, write_spm
from store import write_json
from torch_bin import write_torch_bin
from trajectories import FURTHER, write_trajectories
from variants import PROMPTS, VARIANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=sorted(VARIANTS), required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="make only what has one of these in its name, parted by commas (models are always made)")
    parser.add_argument("--float64", action="store_true", help="also say how far the values are from a float64 run; twice the time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)
    variant, out, seed = VARIANTS[options.variant], options.out, options.seed
    settings = {**variant["settings"], "float64": options.float64}
    prompts = PROMPTS[: settings["batch"]]
    wanted = lambda name: any(part in name for part in options.only.split(","))

    for offset, family in enumerate(("sd15", "sdxl")):
        own = seed * 1000 + 100 * offset
        pipe = build(family, variant[family], out / f"tiny-{family}", options.tokenizer, own)
        if offset == 0:
            spm = build_spm(variant["spm"], len(pipe.tokenizer), own + 1)
            write_spm(spm, out, len(pipe.tokenizer))
        steps = {
            f"expected-{family}": lambda: write_expected(pipe, out / f"expected-{family}.safetensors", settings, prompts, own + 2),
            f"layouts-{family}": lambda: write_layouts(pipe, out),
            f"lora-{family}": lambda: write_lora(pipe, out, settings, own + 3),
            f"trajectory-{family}": lambda: write_trajectories(pipe, out, settings, prompts[: settings.get("sampled")], own + 4),
            f"further-{family}": lambda: write_trajectories(pipe, out, settings, prompts[:1], own + 4, FURTHER),
            f"losses-spo-{family}": lambda: write_spo(pipe, out, settings, PROMPTS, own + 5),
            f"losses-dpo-{family}": lambda: write_dpo(pipe, out, settings, PROMPTS, own + 6),
            f"spm-noising-{family}": lambda: write_noising(pipe, spm, out, PROMPTS, own + 7),
            f"rollout-{family}": lambda: write_rollout(pipe, spm, out, settings, PROMPTS[:3], own + 8),
        }
        for name, make in steps.items():
            if wanted(name) and (variant.get("further") or not name.startswith("further")):
                print(name, flush=True)
                make()
    if wanted("spm"):
        write_expected_spm(spm, out, pipe.tokenizer, PROMPTS, seed + 10)
        write_preprocess(spm, out, seed + 11)
        write_spm_loss(spm, out, pipe.tokenizer, PROMPTS, seed + 12)
    if wanted("losses-adamw"):
        write_adamw(out, seed + 13)
    if wanted("resampler"):
        write_decisions(out, seed + 14)
    if wanted("torch-bin"):
        write_torch_bin(out / "torch-bin", seed + 15)
    if wanted("clip-tokenizer"):
        write_tokenizer_cases(out / "clip-tokenizer", options.tokenizer)
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != "manifest.json")
    write_json(out / "manifest.json", {"seed": seed, "variant": options.variant, "files": files})


def write_tokenizer_cases(folder: Path, source: Path) -> None:
    first = make_tokenizer(source, folder, "<|endoftext|>")
    second = make_tokenizer(source, folder / "second", "!")
    texts = json.loads((Path(__file__).parent / "texts.json").read_text())
    cases = []
    for text in texts:
        ids = tokenize(first, [text])[0].tolist()
        cases.append({"prompt": text, "length": ids.index(first.eos_token_id) + 1, "ids_sd15": ids, "ids_sdxl_2": tokenize(second, [text])[0].tolist()})
    for path in (folder / "second").iterdir():
        path.unlink()
    (folder / "second").rmdir()
    about = {"max_length": 77, "bos": first.bos_token_id, "eos": first.eos_token_id, "pad_sd15": first.pad_token_id, "pad_sdxl_2": second.pad_token_id}
    # One case a line: the lists of ids are long.
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "cases.json").write_text(json.dumps(about)[:-1] + f', "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
