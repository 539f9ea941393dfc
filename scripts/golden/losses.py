"""`losses-*.safetensors`, `spm-noising-*` and `resampler.json`: the formulas of the method on given tensors, with their gradients."""

import math
from pathlib import Path

import torch
from torch.nn.functional import logsigmoid

from lora import adapted, adapter_parameters
from models import Pipeline, guided, predict, tokenize
from spm import Spm, train_pixels
from store import errors, save, write_json

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHA_BAR = torch.cumprod(1 - BETAS, 0)


def rows(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.to(like.dtype).reshape(-1, 1, 1, 1)


def add_noise(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    a = rows(ALPHA_BAR[t], x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def gaussian(x: torch.Tensor, eps: torch.Tensor, t: torch.Tensor, steps: int, eta: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x̂0, mean and std of DDIM's step from each row's own timestep."""
    a, p = rows(ALPHA_BAR[t], x), rows(ALPHA_BAR[(t - 1000 // steps).clamp(min=0)], x)
    std = eta * ((1 - p) / (1 - a) * (1 - a / p)).sqrt()
    x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
    return x0, p.sqrt() * x0 + (1 - p - std**2).sqrt() * eps, std


def log_prob(after: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return (-((after - mean) ** 2) / (2 * std**2) - std.log() - 0.5 * math.log(2 * math.pi)).mean([1, 2, 3])


def gradients(loss: torch.Tensor, parameters: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {f"{prefix}grad/{name}": value for name, value in zip(parameters, found)}


def write_spo(pipe: Pipeline, folder: Path, settings: dict, prompts: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    spo = settings["spo"]
    stride = 1000 // spo["steps"]
    xl = pipe.family == "sdxl"
    n = 4 if xl else 6
    t = torch.cat([torch.tensor([1, 1 + stride * (spo["steps"] - 1)]), 1 + stride * torch.randint(1, spo["steps"] - 1, [n - 2])])
    texts = [prompts[i % len(prompts)] for i in range(n)]
    c = {name: value.detach() for name, value in pipe.conditions(texts, None).items()}
    policy = adapted(pipe, settings["rank"], strength=0.15)
    lora = adapter_parameters(policy)
    x_w = torch.randn(pipe.latent_shape(n))
    x_l = torch.randn(pipe.latent_shape(n)) if xl else x_w
    guidance = spo["guidance"]
    with torch.no_grad():
        eta = spo.get("eta", 1.0)
        steps_of = lambda model, x: gaussian(x, guided(model, x, t, c, guidance), t, spo["steps"], eta)
        after = []
        for side, x in enumerate((x_w, x_l)):
            _, mean, std = steps_of(pipe.unet, x)
            _, shifted, _ = steps_of(policy, x)
            # Lean towards the policy's mean by another amount in each row, so that some ratios are inside the clip and some outside.
            lean = torch.linspace(-0.5, 2.5, n).roll(3 * side).reshape(-1, 1, 1, 1) * (1 if side == 0 else -1)
            after.append(mean + std * torch.randn_like(mean) + lean * (shifted - mean))
    given = {"timesteps": t, "next_latents_w": after[0], "next_latents_l": after[1], **c}
    given.update({f"lora/{name}": value.detach().clone() for name, value in lora.items()})  # they are zeroed below
    given.update({"latents_w": x_w, "latents_l": x_l} if xl else {"latents": x_w})

    def compute(dtype: torch.dtype, prefix: str = "") -> dict[str, torch.Tensor]:
        pipe.unet.to(dtype)
        policy.to(dtype)
        wide = lambda value: value.to(dtype) if value.is_floating_point() else value
        conditions = {name: wide(value) for name, value in c.items()}
        found = {}
        ratios = {}
        for side, x, end in (("w", x_w, after[0]), ("l", x_l, after[1])):
            eps = guided(policy, wide(x), t, conditions, guidance)
            with torch.no_grad():
                ref = guided(pipe.unet, wide(x), t, conditions, guidance)
            if side == "w" or xl:
                found.update({f"eps_{side}": eps, f"eps_ref_{side}": ref})
            _, mean, std = gaussian(wide(x), eps, t, spo["steps"], eta)
            _, ref_mean, _ = gaussian(wide(x), ref, t, spo["steps"], eta)
            logp, ref_logp = log_prob(wide(end), mean, std), log_prob(wide(end), ref_mean, std)
            ratios[side] = (logp - ref_logp).exp().clamp(1 - spo["clip"], 1 + spo["clip"])
            found.update({f"logp_{side}": logp, f"ref_logp_{side}": ref_logp, f"log_ratio_{side}": logp - ref_logp, f"ratio_{side}": ratios[side]})
        per_sample = -logsigmoid(spo["beta"] * ratios["w"].log() - spo["beta"] * ratios["l"].log())
        found.update(per_sample=per_sample, loss=per_sample.mean())
        return {**found, **gradients(found["loss"], adapter_parameters(policy), prefix)}

    double = compute(torch.float64) if settings["float64"] else None
    single = compute(torch.float32)
    with torch.no_grad():
        for name, value in adapter_parameters(policy).items():
            if name.endswith("up.weight"):
                value.zero_()
    fresh = compute(torch.float32, "init/")
    init = {"init/loss": fresh["loss"], "init/ratio_w": fresh["ratio_w"]}
    init.update({name: value for name, value in fresh.items() if name.startswith("init/grad/") and name.endswith("up.weight")})
    outside = lambda side: ((single[f"log_ratio_{side}"].exp() - 1).abs() > spo["clip"]).tolist()
    meta = {"beta": spo["beta"], "eps": spo["clip"], "eta": eta, "guidance": guidance, "steps": spo["steps"],
            "ratio_clipped": {"w": outside("w"), "l": outside("l")}}
    if double:
        meta["fp32_error_vs_fp64"] = summary(single, double)
    pipe.to(torch.float32)
    save(folder / f"losses-spo-{pipe.family}.safetensors", {**given, **single, **init}, meta)


def summary(single: dict[str, torch.Tensor], double: dict[str, torch.Tensor]) -> dict[str, float]:
    """Errors, all gradients as one."""
    found = errors(single, double)
    grads = [name for name in found if name.startswith("grad/")]
    return {**{name: value for name, value in found.items() if name not in grads}, "grad": max(found[name] for name in grads),
            "grad_max": max(double[name].abs().max().item() for name in grads)}


def write_dpo(pipe: Pipeline, folder: Path, settings: dict, prompts: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    n = 3
    latents = torch.randn(pipe.latent_shape(2 * n))
    noise = torch.randn(pipe.latent_shape(n)).repeat(2, 1, 1, 1)
    t = torch.randint(0, 1000, [n]).repeat(2)
    texts = ([prompts[i % len(prompts)] for i in range(n - 1)] + [""]) * 2
    c = pipe.conditions(texts, None)
    policy = adapted(pipe, settings["rank"], strength=0.05)
    given = {"latents": latents, "noise": noise, "timesteps": t, "prompt_embeds": c["prompt_embeds"]}
    if "pooled" in c:
        given.update(text_embeds=c["pooled"], time_ids=c["time_ids"])
    given.update({f"lora/{name}": value for name, value in adapter_parameters(policy).items()})

    def compute(dtype: torch.dtype) -> dict[str, torch.Tensor]:
        pipe.unet.to(dtype)
        policy.to(dtype)
        wide = lambda name: given[name].detach().to(dtype) if name in given else None
        noisy = add_noise(wide("latents"), wide("noise"), t)
        model = predict(policy, noisy, t, wide("prompt_embeds"), wide("text_embeds"), wide("time_ids"))
        with torch.no_grad():
            reference = predict(pipe.unet, noisy, t, wide("prompt_embeds"), wide("text_embeds"), wide("time_ids"))
        m, r = (model - wide("noise")).square().mean([1, 2, 3]), (reference - wide("noise")).square().mean([1, 2, 3])
        inside = -0.5 * settings["beta"] * ((m[:n] - m[n:]) - (r[:n] - r[n:]))
        per_sample = -logsigmoid(inside)
        found = {"noisy_latents": noisy, "model_pred": model, "ref_pred": reference, "model_losses": m, "ref_losses": r, "inside": inside,
                 "per_sample": per_sample, "loss": per_sample.mean(), "implicit_acc": (inside > 0).to(dtype).mean(),
                 "raw_model_loss": m.mean(), "raw_ref_loss": r.mean()}
        return {**found, **gradients(found["loss"], adapter_parameters(policy), "")}

    double = compute(torch.float64) if settings["float64"] else None
    single = compute(torch.float32)
    pipe.to(torch.float32)
    meta = {"beta": settings["beta"]}
    if double:
        meta["fp32_error_vs_fp64"] = summary(single, double)
    save(folder / f"losses-dpo-{pipe.family}.safetensors", {**given, **single}, meta)


def write_spm_loss(spm: Spm, folder: Path, tokenizer, prompts: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    n = len(prompts)
    ids = tokenize(tokenizer, prompts)
    pixels = [spm.normalise(torch.rand(n, 3, spm.size, spm.size)) for _ in range(2)]
    t = torch.randint(0, 1000, [n])
    label_0 = torch.tensor([1.0, 0.0, 0.5, 0.25, 1.0])[:n]
    examples = torch.tensor([1.0, 3.0, 2.0, 7.0, 1.0])[:n]
    weights = {name: value.clone().requires_grad_() for name, value in spm.weights.items()}
    model = Spm(spm.spec, weights)
    text = model.text_features(ids)
    image = model.image_features(torch.cat(pixels), torch.cat([t, t]))
    score_0, score_1 = model.scores(image[:n], text), model.scores(image[n:], text)
    logs = torch.log_softmax(torch.stack([score_0, score_1]), 0)
    per_sample = -(label_0 * logs[0] + (1 - label_0) * logs[1]) + (label_0 == 0.5) * math.log(0.5)
    weight = (1 / examples) / (1 / examples).sum()
    loss = (weight * per_sample).sum()
    learned = {name: value for name, value in weights.items() if "text_model.embeddings" not in name}
    time = [name for name in learned if "adaLN" in name or "t_embedder" in name]
    save(folder / "losses-spm.safetensors", {
        "input_ids": ids, "pixel_values_0": pixels[0], "pixel_values_1": pixels[1], "timesteps": t, "label_0": label_0, "label_1": 1 - label_0,
        "num_example_per_prompt": examples, "text_features": text, "image_features": image, "score_0": score_0, "score_1": score_1,
        "per_sample": per_sample, "weight": weight, "loss": loss, **gradients(loss, learned, ""),
    }, {"time_parameters": time})


@torch.no_grad()
def write_noising(pipe: Pipeline, spm: Spm, folder: Path, prompts: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    n = 2
    scale = pipe.vae.config.scaling_factor
    c = pipe.conditions([prompts[i % len(prompts)] for i in range(n)], None)
    t = torch.tensor([181, 640])
    noise = torch.randn(pipe.latent_shape(n))
    found = {"noise": noise, "timesteps": t, **c}
    for side in "01":
        image = torch.rand(n, 3, *pipe.image_size) * 2 - 1
        posterior = torch.randn(pipe.latent_shape(n))
        gaussian_ = pipe.vae.encode(image).latent_dist
        latents = (gaussian_.mean + gaussian_.std * posterior) * scale
        noisy = add_noise(latents, noise, t)
        eps = guided(pipe.unet, noisy, t, c, 5.0)
        x0, _, _ = gaussian(noisy, eps, t, 20)
        decoded = pipe.vae.decode(x0 / scale).sample
        values = {"image": image, "posterior_noise": posterior, "latents": latents, "noisy": noisy, "eps": eps, "x0": x0, "decoded": decoded,
                  "pixel_values": train_pixels(decoded, spm)}
        found.update({f"{name}_{side}": value for name, value in values.items()})
    save(folder / f"spm-noising-{pipe.family}.safetensors", found, {"guidance_scale": 5.0, "size": spm.size})


def write_adamw(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    lr, betas, eps, decay, max_norm, steps = 2e-4, (0.85, 0.99), 1e-7, 0.02, 0.5, 3
    parameters = {name: torch.randn(shape).requires_grad_() for name, shape in {"a.weight": [5, 7], "a.bias": [5], "b.scale": [], "c.kernel": [3, 2, 3, 3]}.items()}
    found = {f"before/{name}": value.detach().clone() for name, value in parameters.items()}
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in parameters.items()}
    for step in range(1, steps + 1):
        grads = {name: torch.randn_like(value) * (0.01 if step == 3 else 1) for name, value in parameters.items()}
        total = torch.sqrt(sum(value.square().sum() for value in grads.values()))
        found.update({f"norm{step}": total, **{f"grad{step}/{name}": value for name, value in grads.items()}})
        coefficient = min(1.0, max_norm / (total.item() + 1e-6))
        with torch.no_grad():
            for name, p in parameters.items():
                m, v = moments[name]
                g = grads[name] * coefficient
                p.mul_(1 - lr * decay)
                m.mul_(betas[0]).add_(g, alpha=1 - betas[0])
                v.mul_(betas[1]).add_(g * g, alpha=1 - betas[1])
                p.sub_(lr * (m / (1 - betas[0] ** step)) / ((v / (1 - betas[1] ** step)).sqrt() + eps))
                found[f"after{step}/{name}"] = p.detach().clone()
    found.update({f"{kind}/{name}": moments[name][i] for name in parameters for i, kind in enumerate(("exp_avg", "exp_avg_sq"))})
    save(folder / "losses-adamw.safetensors", found, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": decay, "max_norm": max_norm, "steps": steps})


def write_decisions(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    cases = []
    for i, (k, b) in enumerate([(2, 5), (3, 4), (4, 3), (6, 2), (2, 1)]):
        cases.append(decide(f"random-{i}", (torch.randn(k, b) * 2 + 20).round(decimals=3), [0.1, 0.3, 0.4, 0.6, 0.0][i]))
    cases.append(decide("tie", torch.tensor([[1.0, 2.0], [1.0, 5.0], [0.0, 5.0]]), 0.3))
    cases.append(decide("all-equal", torch.full([4, 2], 3.25), 0.0))
    cases.append(decide("large", torch.tensor([[800.0], [-800.0], [0.0]]), 0.9))
    scores = (torch.randn(9, 2) * 0.4 + 21).round(decimals=3)
    gap = torch.softmax(scores, -1) @ torch.tensor([1.0, -1.0])
    label_0 = torch.where(gap > 0.15, 1.0, torch.where(gap < -0.15, 0.0, 0.5))
    relabel = [{"threshold": 0.15, "scores": scores.tolist(), "label_0": label_0.tolist(), "label_1": (1 - label_0).tolist()}]
    write_json(folder / "resampler.json", {"cases": cases, "relabel": relabel})


def decide(name: str, scores: torch.Tensor, threshold: float) -> dict:
    best, worst = scores.max(0), scores.min(0)
    margin = torch.softmax(torch.stack([best.values, worst.values]).double(), 0)
    margin = margin[0] - margin[1]
    among = lambda value: [(scores[:, b] == value[b]).nonzero().flatten().tolist() for b in range(scores.shape[1])]
    return {"name": name, "threshold": threshold, "scores": scores.tolist(), "win": best.indices.tolist(), "lose": worst.indices.tolist(),
            "win_any_of": among(best.values), "lose_any_of": among(worst.values), "margin": margin.tolist(), "valid": (margin > threshold).tolist()}
