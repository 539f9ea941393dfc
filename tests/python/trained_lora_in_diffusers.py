"""Draws with diffusers' pipelines and LoRAs that spo has trained, and compares the pictures. Called by trained-lora-in-diffusers.mjs."""

import json
import sys
import warnings

import diffusers
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()

# Of the range of pixels, [-1, 1]: both sides are float32, summed in other orders, over some steps.
TOLERANCE = 2e-4


def picture(pipe, case, noise):
    side = noise.shape[-1] * pipe.vae_scale_factor
    drawn = pipe(
        case["prompt"],
        latents=noise.clone(),
        num_inference_steps=case["steps"],
        guidance_scale=case["guidanceScale"],
        height=side,
        width=side,
        output_type="pt",
    ).images
    return drawn * 2 - 1


def main(path):
    with open(path) as file:
        cases = json.load(file)
    failed = 0
    for case in cases:
        ours = load_file(case["pictures"])
        pipe = diffusers.DiffusionPipeline.from_pretrained(case["model"], safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        found = {"base": picture(pipe, case, ours["noise"])}
        pipe.load_lora_weights(case["lora"])
        found["trained"] = picture(pipe, case, ours["noise"])
        errors = {name: (value - ours[name].clamp(-1, 1)).abs().max().item() for name, value in found.items()}
        moved = (found["trained"] - found["base"]).abs().max().item()
        # A LoRA that changes nothing would prove nothing.
        ok = all(error <= TOLERANCE for error in errors.values()) and moved > 100 * TOLERANCE
        failed += not ok
        words = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        print(f"{'ok  ' if ok else 'FAIL'} {case['name']}: {words}, moved by {moved:.2g}", flush=True)
    print(f"{len(cases)} LoRAs, {failed} differ; diffusers {diffusers.__version__}, torch {torch.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
