"""`expected-FAMILY.safetensors`: the outputs of every module of a pipeline."""

from pathlib import Path

import torch

from models import Pipeline, predict
from store import save


@torch.no_grad()
def write_expected(pipe: Pipeline, path: Path, settings: dict, prompts: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    tensors = {**text(pipe, prompts), **unet(pipe, prompts, settings), **vae(pipe, len(prompts))}
    meta = {
        "prompts": prompts,
        "negative_prompt": settings["negative"],
        "tap_timestep": settings["timesteps"][1],
        "vae_scale": pipe.factor,
        "vae_scaling_factor": pipe.vae.config.scaling_factor,
    }
    save(path, tensors, meta)


def text(pipe: Pipeline, prompts: list[str]) -> dict[str, torch.Tensor]:
    ids = pipe.ids(prompts)
    first = pipe.text(ids["input_ids"], output_hidden_states=True)
    found = {"text/input_ids": ids["input_ids"], "text/last_hidden_state": first.last_hidden_state}
    if pipe.text_2 is None:
        found["text/pooler_output"] = first.pooler_output
        # The states before the final norm; transformers may have normed the last of them.
        states = list(first.hidden_states[:-1]) + [last_state(pipe.text, ids["input_ids"])]
        return {**found, **{f"text/hidden_states.{i}": state for i, state in enumerate(states)}}
    second = pipe.text_2(ids["input_ids_2"], output_hidden_states=True)
    return {
        **found,
        "text/hidden_states.-2": first.hidden_states[-2],
        "text_2/input_ids": ids["input_ids_2"],
        "text_2/last_hidden_state": second.last_hidden_state,
        "text_2/hidden_states.-2": second.hidden_states[-2],
        "text_2/pooled": second.text_embeds,
        "text/context": pipe.embed(prompts)["prompt_embeds"],
    }


def last_state(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """What the last layer gives, before the final norm."""
    seen = []
    layers = next(module for name, module in model.named_modules() if name.endswith("encoder.layers"))
    hook = layers[-1].register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
    model(ids)
    hook.remove()
    return seen[0]


def unet(pipe: Pipeline, prompts: list[str], settings: dict) -> dict[str, torch.Tensor]:
    batch = len(prompts)
    embedded = pipe.embed(prompts)
    context, pooled = embedded["prompt_embeds"], embedded.get("pooled")
    sample = torch.randn(pipe.latent_shape(batch))
    odd = torch.randn(batch, sample.shape[1], pipe.latents[0] + 1, max(2, pipe.latents[1] - 1))
    timesteps = torch.tensor(settings["timesteps"])
    per_sample = torch.randint(0, 1000, [batch])
    found = {"unet/sample": sample, "unet/context": context, "unet/timesteps": timesteps, "unet/t_per_sample": per_sample, "unet/odd_sample": odd}
    time_ids = None
    if pooled is not None:
        time_ids = torch.tensor([[512, 768, 16 + i, 8, 640, 1024 - i] for i in range(batch)], dtype=torch.float32)
        found.update({"unet/text_embeds": pooled, "unet/time_ids": time_ids})
    run = lambda x, t: predict(pipe.unet, x, t, context, pooled, time_ids)
    for i, t in enumerate(timesteps):
        found[f"unet/out.{i}"] = run(sample, t)
    found["unet/out_t_per_sample"] = run(sample, per_sample)
    found["unet/odd_out"] = run(odd, timesteps[1])
    taps: dict[str, torch.Tensor] = {}
    hooks = tap(pipe.unet, lambda name, value: taps.update({f"unet/taps/{name}": value}))
    run(sample, timesteps[1])
    for hook in hooks:
        hook.remove()
    batched = lambda value: value.expand(batch, -1) if value.ndim == 2 and value.shape[0] == 1 else value
    return {**found, **{name: batched(value) for name, value in taps.items()}}


def tap(model: torch.nn.Module, see) -> list:
    """Hooks that show the values inside a UNet by the fixtures' names."""
    first = lambda out: out[0] if isinstance(out, tuple) else getattr(out, "sample", out)
    hooks = []

    def watch(module, name, pick=first):
        if module is not None:
            hooks.append(module.register_forward_hook(lambda _, __, out: see(name, pick(out))))

    for name in ("time_proj", "time_embedding", "add_time_proj", "add_embedding", "conv_in", "conv_norm_out"):
        watch(getattr(model, name, None), name)
    for i, block in enumerate(model.down_blocks):
        watch(block.resnets[0], f"down.{i}.resnets.0")
        if getattr(block, "attentions", None):
            watch(block.attentions[0], f"down.{i}.attentions.0")

        def see_block(_, __, out, i=i):
            see(f"down.{i}", out[0])
            for j, skip in enumerate(out[1]):
                see(f"down.{i}.res.{j}", skip)

        hooks.append(block.register_forward_hook(see_block))
    watch(model.mid_block, "mid")
    for i, block in enumerate(model.up_blocks):
        watch(block, f"up.{i}")
    watch(model.conv_out, "out")
    return hooks


def vae(pipe: Pipeline, batch: int) -> dict[str, torch.Tensor]:
    model, scale = pipe.vae, pipe.vae.config.scaling_factor
    image = torch.rand(batch, 3, *pipe.image_size) * 2 - 1
    noise = torch.randn(pipe.latent_shape(batch))
    posterior = model.encode(image).latent_dist
    sample = posterior.mean + posterior.std * noise
    wanted = torch.randn(pipe.latent_shape(batch))
    decoded = model.decode(wanted / scale).sample
    return {
        "vae/image": image,
        "vae/moments": posterior.parameters,
        "vae/mean": posterior.mean,
        "vae/logvar": posterior.logvar,
        "vae/std": posterior.std,
        "vae/posterior_noise": noise,
        "vae/posterior_sample": sample,
        "vae/latents": sample * scale,
        "vae/decode_latents": wanted,
        "vae/decoded": decoded,
        "vae/image01": (decoded / 2 + 0.5).clamp(0, 1),
    }
