"""`trajectory-FAMILY-SAMPLER.safetensors`: whole samplings by diffusers' own schedulers, step by step."""

import math
from pathlib import Path
from unittest.mock import patch

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, PNDMScheduler

from models import Pipeline, guided
from store import errors, save

# Name → scheduler, its options, η, which of the step counts it takes, whether there is a negative prompt, and the families that have it.
SAMPLERS = {
    "ddim-eta1": (DDIMScheduler, {}, 1.0, "ddim", False, ("sd15", "sdxl")),
    "ddim-eta0": (DDIMScheduler, {}, 0.0, "ddim", True, ("sd15", "sdxl")),
    "ddim-vpred": (DDIMScheduler, {"prediction_type": "v_prediction"}, 1.0, "ddim", False, ("sd15",)),
    "euler": (EulerDiscreteScheduler, {}, None, "euler", False, ("sd15", "sdxl")),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, {}, None, "euler", False, ("sd15", "sdxl")),
    "dpmpp-2m": (DPMSolverMultistepScheduler, {}, None, "dpmpp", False, ("sd15", "sdxl")),
    "dpmpp-2m-karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}, None, "dpmpp", False, ("sd15",)),
    "pndm": (PNDMScheduler, {}, None, "pndm", True, ("sd15",)),
}


def write_trajectories(pipe: Pipeline, folder: Path, settings: dict, prompts: list[str], seed: int) -> None:
    for name, (cls, options, eta, which, has_negative, families) in SAMPLERS.items():
        if pipe.family not in families:
            continue
        torch.manual_seed(seed)
        steps = settings["steps"][which]
        scheduler = cls.from_config(pipe.scheduler.config, **options)
        negative = settings["negative"] if has_negative else None
        given = {"initial_latents": torch.randn(pipe.latent_shape(len(prompts)))}
        if eta == 1.0 or name == "euler-ancestral":
            given["noises"] = torch.randn(steps, *pipe.latent_shape(len(prompts)))
        run = lambda dtype: sample(pipe.to(dtype), scheduler, steps, settings["guidance"], eta, given, prompts, negative, dtype)
        single = run(torch.float32)
        meta = {
            "steps": steps,
            "guidance_scale": settings["guidance"],
            "prompts": prompts,
            "negative_prompt": negative,
            "scheduler_class": cls.__name__,
            "scheduler_config": {key: value for key, value in scheduler.config.items() if not key.startswith("_")},
        }
        if settings["float64"]:
            meta["fp32_error_vs_fp64"] = errors(single, run(torch.float64))
            pipe.to(torch.float32)
        if eta is not None:
            meta["eta"] = eta
        save(folder / f"trajectory-{pipe.family}-{name}.safetensors", {**given, **pipe.ids(prompts), **single}, meta)


@torch.no_grad()
def sample(pipe, scheduler, steps, guidance, eta, given, prompts, negative, dtype) -> dict[str, torch.Tensor]:
    """The pipelines' loop, with every intermediate value kept."""
    conditions = pipe.conditions(prompts, negative)
    scheduler.set_timesteps(steps)
    ddim = isinstance(scheduler, DDIMScheduler)
    scaled = hasattr(scheduler, "sigmas") and not ddim
    x = given["initial_latents"].to(dtype) * scheduler.init_noise_sigma
    kept: dict[str, list] = {}
    see = lambda name, value: kept.setdefault(name, []).append(value)
    found = dict(conditions, timesteps=scheduler.timesteps.clone())
    if scaled:
        found.update(sigmas=scheduler.sigmas.clone(), scaled_initial_latents=x)
    for i, t in enumerate(scheduler.timesteps):
        shown = scheduler.scale_model_input(x, t).to(dtype)
        output = guided(pipe.unet, shown, t, conditions, guidance)
        noise = given["noises"][i].to(dtype) if "noises" in given else None
        if scaled:
            see("model_input", shown)
        if ddim:
            x = ddim_step(scheduler, output, int(t), x, eta, noise, see)
        else:
            see("eps", output)
            with patch("diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor", lambda *_, **__: noise):
                x = scheduler.step(output, t, x, return_dict=False)[0]
        see("latents", x)
    image = pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample
    found["image01"] = (image / 2 + 0.5).clamp(0, 1)
    return {**found, **{name: torch.stack(values) for name, values in kept.items()}}


def ddim_step(scheduler, output, t, x, eta, noise, see) -> torch.Tensor:
    """The Gaussian of the step by its formulas, and the step by the scheduler; the two must agree."""
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alphas = scheduler.alphas_cumprod.to(x.dtype)
    a, p = alphas[t], alphas[max(t - stride, 0)]
    eps = output
    if scheduler.config.prediction_type == "v_prediction":
        see("v", output)
        eps = a.sqrt() * output + (1 - a).sqrt() * x
    std = eta * ((1 - p) / (1 - a) * (1 - a / p)).sqrt()
    x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
    mean = p.sqrt() * x0 + (1 - p - std**2).sqrt() * eps
    after = scheduler.step(output, t, x, eta=eta, variance_noise=noise, return_dict=False)[0] if eta > 0 else scheduler.step(output, t, x, return_dict=False)[0]
    assert torch.allclose(after, mean + std * noise if eta > 0 else mean, atol=1e-4), "formula and scheduler differ"
    see("eps", eps)
    see("x0", x0)
    see("mean", mean)
    see("std", std.expand(x.shape[0]))
    if eta > 0:
        log_prob = -((after - mean) ** 2) / (2 * std**2) - std.log() - 0.5 * math.log(2 * math.pi)
        see("log_prob", log_prob.mean([1, 2, 3]))
    return after
