"""Configs as people's checkpoints have them, and the image that diffusers draws with each.

    python scripts/golden/published_configs.py --models tests/golden/small --out tests/golden/published-configs

A case is `tests/golden/small/tiny-FAMILY` with some of its JSON files edited: a field that is null in `edits` is taken out, a file under `files` is
written anew. `cases.json` has the edits and the call, `images.safetensors` the images, uint8 [h, w, 3], and the versions in its metadata.
Needs torch, diffusers, transformers and safetensors; one thread, float32 on the CPU.
"""

import argparse
import json
from pathlib import Path
import shutil
import tempfile

import diffusers
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from safetensors.torch import save_file
import torch
import transformers

from store import write_json

SCHEDULER, INDEX = "scheduler/scheduler_config.json", "model_index.json"
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
CLASSES = dict(ddim="DDIMScheduler", pndm="PNDMScheduler", lcm="LCMScheduler", euler="EulerDiscreteScheduler",
               euler_ancestral="EulerAncestralDiscreteScheduler", dpmpp_2m="DPMSolverMultistepScheduler")
# The samplers by their names on the command line.
SAMPLERS = {**{name.replace("_", "-"): (name, {}) for name in CLASSES}, "dpmpp-2m-sde": ("dpmpp_2m", dict(algorithm_type="sde-dpmsolver++"))}
SCHEDULES = dict(karras=dict(use_karras_sigmas=True), exponential=dict(use_exponential_sigmas=True, timestep_spacing="linspace"),
                 beta=dict(use_beta_sigmas=True, timestep_spacing="linspace"), lu=dict(use_lu_lambdas=True), uniform=dict(timestep_spacing="linspace"))
SCHEDULES["sgm-uniform"], SCHEDULES["ddim-uniform"] = dict(timestep_spacing="trailing"), dict(timestep_spacing="leading")
LEVELS = ("karras", "exponential", "beta")


def of(name: str, *, index: str | None = None, family="sd15", **config) -> dict:
    """A folder whose scheduler_config.json is of a class and says no more than `config`; index: the class in model_index.json."""
    cls = CLASSES.get(name, name)
    return dict(family=family, files={SCHEDULER: {"_class_name": cls, "_diffusers_version": "0.6.0", **config}},
                edits={INDEX: {"scheduler": ["diffusers", CLASSES.get(index, index) if index else cls]}})


def edited(family="sd15", **files) -> dict:
    return dict(family=family, edits={f"{name}/config.json": fields for name, fields in files.items()})


CASES: dict[str, dict] = {
    # What StableDiffusionPipeline repairs, and SDXL's does not.
    "clip-true": of("ddim", **BETAS, clip_sample=True, set_alpha_to_one=False, steps_offset=1),
    "clip-absent": of("ddim", **BETAS, set_alpha_to_one=False, steps_offset=1),
    "offset-0-ddim": of("ddim", **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=0),
    "offset-0-pndm": of("pndm", **BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=0, trained_betas=None),
    "offset-0-euler-a": of("euler_ancestral", **BETAS, timestep_spacing="leading", steps_offset=0),
    "offset-0-dpm": of("dpmpp_2m", **BETAS, timestep_spacing="leading", steps_offset=0),
    "offset-7": of("euler", **BETAS, timestep_spacing="leading", steps_offset=7),
    "xl-clip-true": of("ddim", family="sdxl", **BETAS, clip_sample=True, steps_offset=1),
    "xl-clip-absent": of("ddim", family="sdxl", **BETAS, steps_offset=1, set_alpha_to_one=False),
    "xl-offset-0": of("euler", family="sdxl", **BETAS, timestep_spacing="leading", steps_offset=0),
    "lcm-pipeline": dict(of("lcm", **BETAS, steps_offset=0, clip_sample=True)),
    # model_index.json has the last word on the class.
    "index-pndm-config-euler": of("euler", index="pndm", **BETAS, prediction_type="epsilon", steps_offset=0, timestep_spacing="linspace"),
    "index-ddim-config-dpm": of("dpmpp_2m", index="ddim", **BETAS, use_karras_sigmas=True, solver_order=3, timestep_spacing="trailing"),
    "index-euler-config-ddpm": of("DDPMScheduler", index="euler", **BETAS, variance_type="fixed_small", clip_sample=True, steps_offset=1),
    "index-dpm-config-unipc": of("UniPCMultistepScheduler", index="dpmpp_2m", **BETAS, solver_type="bh2", solver_order=3, predict_x0=True, lower_order_final=False),
    "xl-index-dpm-config-euler": of("euler", index="dpmpp_2m", family="sdxl", **BETAS, interpolation_type="log_linear", use_karras_sigmas=True, steps_offset=1),
    # What a class takes where the file says nothing.
    **{f"empty-{name}": of(name) for name in CLASSES},
    **{f"xl-empty-{name}": of(name, family="sdxl") for name in CLASSES},
    # Fields that are passed over.
    "unknown-field": of("ddim", **BETAS, steps_offset=1, a_field_of_tomorrow=3),
    "zero-snr-pndm": of("pndm", **BETAS, skip_prk_steps=True, steps_offset=1, rescale_betas_zero_snr=True),
    "variance-type": of("dpmpp_2m", **BETAS, steps_offset=1, variance_type="fixed_small"),
    "deis-in-dpm": of("dpmpp_2m", **BETAS, steps_offset=1, algorithm_type="deis", solver_type="logrho", final_sigmas_type="sigma_min"),
    # Models.
    "unet-defaults": edited(unet=dict(act_fn=None, norm_eps=None, flip_sin_to_cos=None, freq_shift=None, mid_block_type=None, downsample_padding=None)),
    "unet-old-names": edited(unet=dict(act_fn="Swish", only_cross_attention=[False, False], down_block_types=["UNetResCrossAttnDownBlock2D", "UNetResDownBlock2D"])),
    "vae-statistics": edited(vae=dict(latents_mean=[-1.6, 1.3, 0.4, -0.2], latents_std=[8.4, 5.9, 4.6, 2.4])),
    "vae-defaults": edited(vae=dict(scaling_factor=None, force_upcast=None, use_quant_conv=None, use_post_quant_conv=None, mid_block_add_attention=None)),
    "xl-vae-scale": edited("sdxl", vae=dict(scaling_factor=None)),
    "xl-text-absent-eos": edited("sdxl", text_encoder_2=dict(eos_token_id=None)),
    "xl-no-zeros": dict(family="sdxl", edits={INDEX: {"force_zeros_for_empty_prompt": False}}),
}
# Samplers chosen by hand over configs of other classes: diffusers' `from_config`.
SOURCES = {
    "euler": of("euler", **BETAS, timestep_spacing="leading", steps_offset=1, interpolation_type="linear", clip_sample=False, skip_prk_steps=True),
    "xl-dpm": of("dpmpp_2m", family="sdxl", **BETAS, solver_order=2, use_karras_sigmas=True, final_sigmas_type="sigma_min"),
    "xl-lcm": of("lcm", family="sdxl", steps_offset=1, original_inference_steps=40, clip_sample=True, prediction_type="v_prediction"),
    "pndm": of("pndm", **BETAS, skip_prk_steps=True),
}
for source, case in SOURCES.items():
    for sampler in SAMPLERS:
        CASES[f"{source}-to-{sampler}"] = dict(case, sampler=sampler)
for sampler in ("euler", "dpmpp-2m", "dpmpp-2m-sde"):
    for schedule in LEVELS:
        CASES[f"{schedule}-{sampler}"] = dict(SOURCES["euler"], sampler=sampler, schedule=schedule)
CASES["lu-dpmpp-2m"] = dict(SOURCES["pndm"], sampler="dpmpp-2m", schedule="lu")
for sampler in ("ddim", "euler", "euler-ancestral", "dpmpp-2m", "pndm"):
    for schedule in ("uniform", "sgm-uniform", "ddim-uniform"):
        CASES[f"{schedule}-{sampler}"] = dict(SOURCES["pndm"], sampler=sampler, schedule=schedule)

CALL = dict(prompt="two cats, oil painting, 4k", num_inference_steps=6, guidance_scale=7.5, height=32, width=32)
SEED = 7


def draw(case: dict, models: Path) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        shutil.copytree(models / f"tiny-{case['family']}", folder)
        for name, value in case.get("files", {}).items():
            (folder / name).write_text(json.dumps(value))
        for name, fields in case.get("edits", {}).items():
            value = {**json.loads((folder / name).read_text()), **fields}
            (folder / name).write_text(json.dumps({key: each for key, each in value.items() if key not in fields or each is not None}))
        chosen = {}
        if "sampler" in case:
            name, options = SAMPLERS[case["sampler"]]
            # The checkpoint's own class first, as its index names it: what it reads goes on to the chosen one.
            own = getattr(diffusers, json.loads((folder / INDEX).read_text())["scheduler"][1]).from_pretrained(folder / "scheduler")
            more = SCHEDULES[case["schedule"]] if "schedule" in case else {}
            chosen["scheduler"] = getattr(diffusers, CLASSES[name]).from_config(own.config, **options, **more)
        pipe = DiffusionPipeline.from_pretrained(folder, **chosen)
        pipe.set_progress_bar_config(disable=True)
        image = pipe(**CALL, generator=torch.Generator().manual_seed(SEED), output_type="np").images[0]
        return torch.from_numpy((image * 255).round()).to(torch.uint8).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)
    images = {}
    for name, case in CASES.items():
        print(name, flush=True)
        images[name] = draw(case, options.models)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(images, options.out / "images.safetensors", metadata={"meta": json.dumps({**CALL, "seed": SEED, "versions": versions}, sort_keys=True)})
    write_json(options.out / "cases.json", CASES)


if __name__ == "__main__":
    main()
