"""A round of SPO as the published code does the work. What it repeats needlessly is repeated here: that is what is compared."""

import copy
import math
import os

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file
from serve import Case, serve, some
from step_aware_clip import StepAwareClip, score_pixels

STEPS, CANDIDATES, FIRST_BRANCH, THRESHOLD, ETA, GUIDANCE = 20, 4, 4, 0.0, 1.0, 5.0
BETA, CLIP, BATCH, RANK = 10.0, 0.1, 4, 4


def make(folder):
    def at(*path):
        return os.path.join(folder, *path)

    inputs = load_file(at("inputs.safetensors"))
    unet = UNet2DConditionModel.from_pretrained(at("unet"))
    unet.requires_grad_(False)
    reference = copy.deepcopy(unet)
    unet.add_adapter(
        LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"])
    )
    load_lora(unet, load_file(at("lora.safetensors")))
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=6e-5, betas=(0.9, 0.999), weight_decay=1e-4, eps=1e-8)
    vae = AutoencoderKL.from_pretrained(at("vae"))
    vae.requires_grad_(False)
    spm = StepAwareClip(at("spm"))
    spm.requires_grad_(False)
    size = spm.config["vision_config"]["image_size"]

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    stride = 1000 // STEPS
    timesteps = [stride * (STEPS - 1 - i) + 1 for i in range(STEPS)]
    prompts = inputs["context"].shape[0]
    context, empty, ids = inputs["context"], inputs["empty"], inputs["ids"]
    choices, order = inputs["choices"], inputs["order"]

    def step(eps, t, xt):
        """DDIM at timesteps t [n]: x̂0, mean and standard deviation of x_{t−1}."""
        shape = (-1, 1, 1, 1)
        a = alphas_cumprod[t].view(shape)
        p = alphas_cumprod[(t - stride).clamp(min=0)].view(shape)
        std = ETA * ((1 - p) / (1 - a) * (1 - a / p)).sqrt()
        x0 = (xt - (1 - a).sqrt() * eps) / a.sqrt()
        return x0, p.sqrt() * x0 + (1 - p - std**2).sqrt() * eps, std

    def predict(model, xt, t, text):
        both = torch.cat([empty.expand(len(xt), -1, -1), text])
        output = model(torch.cat([xt, xt]), torch.cat([t, t]), encoder_hidden_states=both, return_dict=False)[0]
        uncond, cond = output.chunk(2)
        return uncond + GUIDANCE * (cond - uncond)

    def score(x0, t):
        image = vae.decode(x0 / vae.config.scaling_factor, return_dict=False)[0]
        every = ids.repeat(len(x0) // prompts, 1)
        return spm.scores(score_pixels(image, size), torch.full((len(x0),), t), every).view(-1, prompts)

    @torch.no_grad()
    def sample():
        """→ latents, next latents [P, 2, …] (win, lose), timesteps and prompts [P]."""
        pairs = []
        x, parent, born = inputs["initialLatents"], None, None

        def compare(scores):
            win, lose = scores.argmax(0), scores.argmin(0)
            best, worst = scores.gather(0, win[None])[0], scores.gather(0, lose[None])[0]
            probabilities = torch.stack([best, worst]).softmax(0)
            valid = probabilities[0] - probabilities[1] > THRESHOLD
            children = x.view(CANDIDATES, prompts, *x.shape[1:])
            for b in range(prompts):
                if valid[b]:
                    pairs.append((parent[b], children[win[b], b], children[lose[b], b], born, b))

        for i, t in enumerate(timesteps):
            copies = len(x) // prompts
            eps = predict(unet, x, torch.full((len(x),), t), context.repeat(copies, 1, 1))
            x0, mean, std = step(eps, torch.full((len(x),), t), x)
            if i < FIRST_BRANCH:
                x = mean + std * inputs["noiseBefore"][i]
                continue
            if i > FIRST_BRANCH:
                compare(score(x0, t))
                rows = choices[i - FIRST_BRANCH - 1] * prompts + torch.arange(prompts)
                x, mean, std = x[rows], mean[rows], std[rows]
            parent, born = x, t
            x = (mean + std * inputs["noiseBranch"][i - FIRST_BRANCH]).flatten(0, 1)
        compare(score(x, 0))
        latents, win, lose, times, rows = zip(*pairs)
        return torch.stack(latents), torch.stack([torch.stack(win), torch.stack(lose)], 1), torch.tensor(times), torch.tensor(rows)

    def log_probabilities(model, xt, after, t, text):
        _, mean, std = step(predict(model, xt, t, text), t, xt)
        density = -((after - mean) ** 2) / (2 * std**2) - std.log() - math.log(math.sqrt(2 * math.pi))
        return density.mean(dim=(1, 2, 3))

    def round_():
        unet.eval()
        latents, nexts, times, rows = sample()
        unet.train()
        losses = []
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            # Winners, then losers, each a sample of its own.
            xt = torch.cat([latents[chosen], latents[chosen]])
            after = torch.cat([nexts[chosen, 0], nexts[chosen, 1]])
            t, text = times[chosen].repeat(2), context[rows[chosen]].repeat(2, 1, 1)
            log_policy = log_probabilities(unet, xt, after, t, text)
            with torch.no_grad():
                log_reference = log_probabilities(reference, xt, after, t, text)
            ratio = (log_policy - log_reference).exp().clamp(1 - CLIP, 1 + CLIP)
            win, lose = ratio.log().chunk(2)
            loss = -F.logsigmoid(BETA * win - BETA * lose).mean()
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
            optimizer.zero_grad()
        return losses

    def result():
        losses = round_()
        # By the file's names, in which A is `down` and B `up`: the two orders are the same.
        byname = sorted((name, weight) for name, weight in unet.named_parameters() if weight.requires_grad)
        return losses + [number for _, weight in byname for number in some(weight, 4)]

    def mean_loss():
        losses = round_()
        return [sum(losses) / len(losses)]

    # Decoding in bfloat16 is ours alone: the peer's round is the same.
    return {"round": Case(round_, result), "round, decoding in bfloat16": Case(round_, mean_loss)}


def load_lora(unet, weights):
    """`unet.<module>.lora_A|lora_B.weight` (or `lora.down|up`) → the adapter's own parameters."""
    parameters = dict(unet.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own = name.removeprefix("unet.").replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")
            parameters[own.removesuffix(".weight") + ".default.weight"].copy_(value)


serve(make)
