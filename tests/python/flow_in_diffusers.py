"""Draws with diffusers' flow models, our LoRAs and merged folders, and compares the pictures. Called by flow-in-diffusers.mjs."""

import json
import sys
import warnings

import diffusers
import peft
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()

# Of the range of pixels, [-1, 1]: both sides are float32, summed in other orders, over some steps.
TOLERANCE = 2e-4


def load(folder):
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(pipe, case, noise):
    batch, channels, height, width = noise.shape
    if isinstance(pipe, diffusers.FluxPipeline):
        latents = pipe._pack_latents(noise.clone(), batch, channels, height, width)
    else:
        latents = noise.clone()
    drawn = pipe(
        case["prompt"],
        latents=latents,
        num_inference_steps=case["steps"],
        guidance_scale=case["guidanceScale"],
        height=height * pipe.vae_scale_factor,
        width=width * pipe.vae_scale_factor,
        output_type="pt",
    ).images
    return drawn * 2 - 1


def main(path):
    with open(path) as file:
        cases = json.load(file)
    failed = count = 0
    for case in cases:
        ours = load_file(case["pictures"])

        def tell(name, found, wanted, moved=None):
            nonlocal failed, count
            error = (found - ours[wanted].clamp(-1, 1)).abs().max().item()
            # An adapter that changes nothing would prove nothing.
            ok = error <= TOLERANCE and (moved is None or moved > 100 * TOLERANCE)
            words = "" if moved is None else f", moved by {moved:.2g}"
            failed, count = failed + (not ok), count + 1
            print(f"{'ok  ' if ok else 'FAIL'} {case['family']}, {name}: {error:.1e}{words}", flush=True)

        pipe = load(case["model"])
        base = picture(pipe, case, ours["noise"])
        tell("base", base, "base")

        def tell_adapted(name):
            found = picture(pipe, case, ours["noise"])
            tell(name, found, "adapted", (found - base).abs().max().item())

        pipe.load_lora_weights(case["lora"])
        tell_adapted("diffusers")
        pipe.unload_lora_weights()
        pipe.transformer = peft.PeftModel.from_pretrained(pipe.transformer, case["peft"]).merge_and_unload()
        tell_adapted("peft")
        tell("merged folder", picture(load(case["merged"]), case, ours["noise"]), "adapted")
    print(f"{count} pictures, {failed} differ; diffusers {diffusers.__version__}, torch {torch.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
