"""`trajectory-FAMILY-SAMPLER.safetensors`: whole samplings by diffusers' own schedulers, step by step."""

from dataclasses import dataclass, field
import math
from pathlib import Path
from unittest.mock import patch

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, LCMScheduler, PNDMScheduler

from models import Pipeline, guided
from store import errors, save

@dataclass
class Sampling:
    """One file: a scheduler with options over the checkpoint's config. steps: a number, or which of the variant's."""

    scheduler: type
    options: dict = field(default_factory=dict)
    steps: str | int = 10
    eta: float | None = None
    negative: bool = False
    families: tuple[str, ...] = ("sd15",)


BOTH = ("sd15", "sdxl")
SAMPLERS = {
    "ddim-eta1": Sampling(DDIMScheduler, {}, "ddim", 1.0, families=BOTH),
    "ddim-eta0": Sampling(DDIMScheduler, {}, "ddim", 0.0, negative=True, families=BOTH),
    "ddim-vpred": Sampling(DDIMScheduler, {"prediction_type": "v_prediction"}, "ddim", 1.0),
    "euler": Sampling(EulerDiscreteScheduler, {}, "euler", families=BOTH),
    "euler-ancestral": Sampling(EulerAncestralDiscreteScheduler, {}, "euler", families=BOTH),
    "dpmpp-2m": Sampling(DPMSolverMultistepScheduler, {}, "dpmpp", families=BOTH),
    "dpmpp-2m-karras": Sampling(DPMSolverMultistepScheduler, {"use_karras_sigmas": True}, "dpmpp"),
    "pndm": Sampling(PNDMScheduler, {}, "pndm", negative=True),
}

V = {"prediction_type": "v_prediction"}
ZERO_SNR = {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
X0 = {"prediction_type": "sample"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
TRAINED = [round(1e-4 + 1.2e-6 * t + 1.5e-8 * t * t, 8) for t in range(200)]
# Settings that other checkpoints' scheduler configs have; only the variants with `further` make these files.
FURTHER = {
    "ddim-eta0.5": Sampling(DDIMScheduler, {}, 6, 0.5, families=("sdxl",)),
    "ddim-offset0": Sampling(DDIMScheduler, {"steps_offset": 0, "set_alpha_to_one": True}, 6, 0.0),
    "ddim-linspace": Sampling(DDIMScheduler, {"timestep_spacing": "linspace"}, 5, 0.0),
    "ddim-trailing": Sampling(DDIMScheduler, {"timestep_spacing": "trailing"}, 7, 1.0),
    "ddim-zero-snr": Sampling(DDIMScheduler, ZERO_SNR, 6, 0.7),
    "ddim-linear": Sampling(DDIMScheduler, {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}, 5, 1.0),
    "ddim-400": Sampling(DDIMScheduler, {"num_train_timesteps": 400}, 6, 1.0),
    "euler-linspace": Sampling(EulerDiscreteScheduler, {"timestep_spacing": "linspace"}, 6),
    "euler-trailing": Sampling(EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, 6, families=("sdxl",)),
    "euler-karras": Sampling(EulerDiscreteScheduler, {"use_karras_sigmas": True}, 6),
    "euler-karras-range": Sampling(EulerDiscreteScheduler, {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 9.0}, 6),
    "euler-vpred": Sampling(EulerDiscreteScheduler, V, 6, families=("sdxl",)),
    "euler-zero-snr": Sampling(EulerDiscreteScheduler, ZERO_SNR, 6, families=("sdxl",)),
    "euler-sigma-min": Sampling(EulerDiscreteScheduler, {"final_sigmas_type": "sigma_min"}, 6),
    "euler-ancestral-trailing": Sampling(EulerAncestralDiscreteScheduler, {"timestep_spacing": "trailing"}, 4, families=("sdxl",)),
    "euler-ancestral-linspace": Sampling(EulerAncestralDiscreteScheduler, {**V, "timestep_spacing": "linspace"}, 5),
    "dpmpp-2m-linspace": Sampling(DPMSolverMultistepScheduler, {"timestep_spacing": "linspace"}, 6),
    "dpmpp-2m-trailing": Sampling(DPMSolverMultistepScheduler, {**V, "timestep_spacing": "trailing"}, 6),
    "dpmpp-2m-zero-snr": Sampling(DPMSolverMultistepScheduler, ZERO_SNR, 6, families=("sdxl",)),
    "dpmpp-2m-sigma-min": Sampling(DPMSolverMultistepScheduler, {"final_sigmas_type": "sigma_min", "lower_order_final": False}, 5),
    "dpmpp-2m-karras": Sampling(DPMSolverMultistepScheduler, {**V, "use_karras_sigmas": True, "timestep_spacing": "linspace"}, 5, families=("sdxl",)),
    "dpmpp-2m-1": Sampling(DPMSolverMultistepScheduler, {}, 1),
    "ddim-sample": Sampling(DDIMScheduler, X0, 5, 1.0),
    "ddim-clip": Sampling(DDIMScheduler, {"clip_sample": True, "clip_sample_range": 1.2}, 5, 1.0),
    "ddim-threshold": Sampling(DDIMScheduler, {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 2.0}, 5, 0.0),
    "ddim-cosine": Sampling(DDIMScheduler, COSINE, 5, 0.0),
    "ddim-trained-betas": Sampling(DDIMScheduler, {"trained_betas": TRAINED, "num_train_timesteps": len(TRAINED)}, 5, 0.0),
    "euler-sample": Sampling(EulerDiscreteScheduler, X0, 5, families=("sdxl",)),
    "euler-exponential": Sampling(EulerDiscreteScheduler, {"use_exponential_sigmas": True}, 5),
    "euler-beta": Sampling(EulerDiscreteScheduler, {"use_beta_sigmas": True}, 6),
    "euler-log-linear": Sampling(EulerDiscreteScheduler, {"interpolation_type": "log_linear"}, 5),
    "euler-continuous": Sampling(EulerDiscreteScheduler, {**V, "timestep_type": "continuous", "use_karras_sigmas": True}, 5, families=("sdxl",)),
    "euler-ancestral-zero-snr": Sampling(EulerAncestralDiscreteScheduler, ZERO_SNR, 5),
    "dpmpp-2m-order1": Sampling(DPMSolverMultistepScheduler, {"solver_order": 1, "timestep_spacing": "linspace"}, 5),
    "dpmpp-2m-order3": Sampling(DPMSolverMultistepScheduler, {"solver_order": 3}, 16),
    "dpmpp-2m-order3-few": Sampling(DPMSolverMultistepScheduler, {**X0, "solver_order": 3}, 6, families=("sdxl",)),
    "dpmpp-2m-heun": Sampling(DPMSolverMultistepScheduler, {"solver_type": "heun", "thresholding": True, "sample_max_value": 1.5}, 5),
    "dpmpp-2m-cosine": Sampling(DPMSolverMultistepScheduler, {**COSINE, "lambda_min_clipped": -5.1}, 5),
    "dpmpp-2m-exponential": Sampling(DPMSolverMultistepScheduler, {"use_exponential_sigmas": True, "euler_at_final": True}, 5),
    "dpmpp-2m-lu": Sampling(DPMSolverMultistepScheduler, {"use_lu_lambdas": True}, 5),
    "dpmpp-2m-sde": Sampling(DPMSolverMultistepScheduler, SDE, 6),
    "dpmpp-2m-sde-karras": Sampling(DPMSolverMultistepScheduler, {**SDE, **V, "use_karras_sigmas": True, "solver_type": "heun"}, 5, families=("sdxl",)),
    "lcm": Sampling(LCMScheduler, {}, 4, families=BOTH),
    "lcm-sample": Sampling(LCMScheduler, {**X0, "clip_sample": True, "original_inference_steps": 30, "timestep_scaling": 5.0}, 7),
    "pndm-runge-kutta": Sampling(PNDMScheduler, {"skip_prk_steps": False}, 5),
    "pndm-linspace": Sampling(PNDMScheduler, {"timestep_spacing": "linspace"}, 6),
    "pndm-trailing": Sampling(PNDMScheduler, {**V, "timestep_spacing": "trailing", "set_alpha_to_one": True}, 6),
    "pndm": Sampling(PNDMScheduler, {}, 3, families=("sdxl",)),
    "pndm-1": Sampling(PNDMScheduler, {}, 1),
}


def write_trajectories(pipe: Pipeline, folder: Path, settings: dict, prompts: list[str], seed: int, samplings: dict[str, Sampling] = SAMPLERS) -> None:
    for name, sampling in samplings.items():
        cls, eta = sampling.scheduler, sampling.eta
        if pipe.family not in sampling.families:
            continue
        torch.manual_seed(seed)
        steps = sampling.steps if isinstance(sampling.steps, int) else settings["steps"][sampling.steps]
        scheduler = cls.from_config(pipe.scheduler.config, **sampling.options)
        negative = settings["negative"] if sampling.negative else None
        given = {"initial_latents": torch.randn(pipe.latent_shape(len(prompts)))}
        if eta or cls in (EulerAncestralDiscreteScheduler, LCMScheduler) or sampling.options.get("algorithm_type", "").startswith("sde"):
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
            see({"epsilon": "eps", "v_prediction": "v", "sample": "output"}[scheduler.config.prediction_type], output)
            with patch(f"{type(scheduler).__module__}.randn_tensor", lambda *_, **__: noise, create=True):
                x = scheduler.step(output, t, x, return_dict=False)[0]
        see("latents", x)
    image = pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample
    found["image01"] = (image / 2 + 0.5).clamp(0, 1)
    return {**found, **{name: torch.stack(values) for name, values in kept.items()}}


def ddim_step(scheduler, output, t, x, eta, noise, see) -> torch.Tensor:
    """The Gaussian of the step by its formulas, and the step by the scheduler; the two must agree."""
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alphas = scheduler.alphas_cumprod.to(x.dtype)
    a, p = alphas[t], alphas[t - stride] if t >= stride else scheduler.final_alpha_cumprod.to(x.dtype)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        eps, x0 = output, (x - (1 - a).sqrt() * output) / a.sqrt()
    elif kind == "v_prediction":
        see("v", output)
        eps, x0 = a.sqrt() * output + (1 - a).sqrt() * x, a.sqrt() * x - (1 - a).sqrt() * output
    else:
        see("output", output)
        eps, x0 = (x - a.sqrt() * output) / (1 - a).sqrt(), output
    if scheduler.config.thresholding:
        x0 = scheduler._threshold_sample(x0)
    elif scheduler.config.clip_sample:
        x0 = x0.clamp(-scheduler.config.clip_sample_range, scheduler.config.clip_sample_range)
    std = eta * ((1 - p) / (1 - a) * (1 - a / p)).sqrt()
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
