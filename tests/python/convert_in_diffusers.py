"""Loads converted pipelines with diffusers and compares what the models give with ours. Called by convert-in-diffusers.mjs."""

import json
import sys
import warnings
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_grad_enabled(False)

# Of the largest value: both sides are float32, summed in other orders.
TOLERANCE = 2e-5
PROMPT = "a red apple! ?!?"
PIPELINES = {"sd15": diffusers.StableDiffusionPipeline, "sdxl": diffusers.StableDiffusionXLPipeline}


def load(case):
    pipeline = PIPELINES[case["family"]]
    if Path(case["file"]).is_dir():
        return pipeline.from_pretrained(case["file"])
    return pipeline.from_single_file(case["file"], config=case["config"], local_files_only=True)


def values(pipe, sample):
    side = sample.shape[-1] * pipe.vae_scale_factor
    if isinstance(pipe, diffusers.StableDiffusionXLPipeline):
        context, _, pooled, _ = pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False)
        time_ids = torch.tensor([[side, side, 0, 0, side, side]], dtype=torch.float32)
        added = {"text_embeds": pooled, "time_ids": time_ids}
    else:
        context, _ = pipe.encode_prompt(PROMPT, "cpu", 1, False)
        added = None
    return {
        "context": context,
        "unet": pipe.unet(sample, 501, context, added_cond_kwargs=added).sample,
        "pixels": pipe.vae.decode(sample).sample,
    }


def main(path):
    with open(path) as file:
        cases = json.load(file)
    failed = 0
    for case in cases:
        expected = load_file(case["values"])
        found = values(load(case), expected["sample"])
        errors = {
            name: (value - expected[name]).abs().max().item() / expected[name].abs().max().item()
            for name, value in found.items()
        }
        ok = all(error <= TOLERANCE for error in errors.values())
        failed += not ok
        words = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        print(f"{'ok  ' if ok else 'FAIL'} {Path(case['file']).name}: {words}", flush=True)
    print(f"{len(cases)} pipelines, {failed} differ; diffusers {diffusers.__version__}, torch {torch.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
