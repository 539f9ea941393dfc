"""Loads LoRA files with diffusers and compares the models' outputs with the expected ones. Called by lora-in-diffusers.mjs."""

import json
import sys
import warnings

import diffusers
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_grad_enabled(False)

# Of the largest output: both sides are float32, summed in other orders.
TOLERANCE = 2e-5
PARTS = ("text_encoder", "text_encoder_2")


def outputs(pipe, inputs):
    added = {name: inputs[name] for name in ("text_embeds", "time_ids") if name in inputs}
    given = {
        "unet": pipe.unet(
            inputs["sample"], 501, inputs["context"], added_cond_kwargs=added or None
        ).sample
    }
    for part in PARTS:
        encoder = getattr(pipe, part, None)
        if encoder is not None:
            given[part] = encoder(inputs["ids"]).last_hidden_state
    return given


def main(path):
    with open(path) as file:
        cases = json.load(file)
    failed = 0
    pipes = {}
    for case in cases:
        model = case["model"]
        if model not in pipes:
            pipes[model] = diffusers.DiffusionPipeline.from_pretrained(model, safety_checker=None)
        pipe = pipes[model]
        inputs = load_file(case["inputs"])
        base = outputs(pipe, inputs)
        pipe.load_lora_weights(case["file"], adapter_name="ours")
        pipe.set_adapters(["ours"], [case["scale"]])
        found = outputs(pipe, inputs)
        pipe.delete_adapters("ours")
        pipe.unload_lora_weights()
        expected = load_file(case["expected"])
        words = []
        ok = set(found) == set(expected)
        for part, wanted in expected.items():
            error = (found[part] - wanted).abs().max().item() / wanted.abs().max().item()
            moved = (base[part] - wanted).abs().max().item()
            # An adapter that changes nothing would prove nothing.
            ok = ok and error <= TOLERANCE and moved > 1e-2
            words.append(f"{part} {error:.1e}")
        failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {case['name']}: {', '.join(words)}", flush=True)
    print(
        f"{len(cases)} files, {failed} differ; diffusers {diffusers.__version__}, torch {torch.__version__}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
