"""`rollout-FAMILY.safetensors`: the step-wise resampler end to end, written from its description."""

from pathlib import Path

import torch

from losses import gaussian
from models import Pipeline, guided, tokenize
from spm import Spm
from store import save

# Least distance of best and worst from the next score, and of a margin from the threshold: no decision may depend on rounding.
CLEAR = 4e-3


@torch.no_grad()
def write_rollout(pipe: Pipeline, spm: Spm, folder: Path, settings: dict, prompts: list[str], seed: int) -> None:
    """Draws until every decision is clear."""
    options = settings["rollout"][pipe.family]
    for attempt in range(100):
        torch.manual_seed(seed + attempt)
        found, comparisons = roll(pipe, spm, settings, options, prompts)
        margins = torch.cat([margin for *_, margin in comparisons]).sort().values
        # Best and worst against the next score.
        gaps = torch.cat([scores.sort(0).values.diff(dim=0)[[0, -1]].flatten() for scores, *_ in comparisons])
        # Half way between the two margins around the middle: about half of the comparisons are valid.
        middle = len(margins) // 2
        threshold = round(((margins[middle - 1] + margins[middle]) / 2).item(), 5) if len(margins) > 1 else 0.0
        distance = (margins - threshold).abs().min().item()
        if gaps.min() > CLEAR and distance > CLEAR:
            break
    else:
        raise RuntimeError("no draw with clear decisions")
    meta = {"k": options["k"], "steps": options["steps"], "divert_start_step": options["d"], "num_inner_step": options["inner"], "threshold": threshold,
            "eta": options.get("eta", 1.0), "guidance_scale": settings["guidance"], "prompts": prompts, "smallest_score_gap": gaps.min().item(),
            "smallest_distance_to_threshold": distance}
    save(folder / f"rollout-{pipe.family}.safetensors", {**found, **pairs(comparisons, threshold)}, meta)


def roll(pipe: Pipeline, spm: Spm, settings: dict, options: dict, prompts: list[str]):
    k, steps, d, inner = (options[name] for name in ("k", "steps", "d", "inner"))
    b = len(prompts)
    stride = 1000 // steps
    c = pipe.conditions(prompts, None)
    ids = tokenize(pipe.tokenizer, prompts)
    shape = pipe.latent_shape(b)
    x = torch.randn(shape)
    before, branch = torch.randn(d, *shape), torch.randn(steps - d, k, *shape)
    segments = 1 + (steps - d - 1) // (inner + 1)
    choices = torch.randint(0, k, [segments - 1, b])
    found = {"initial_latents": x, "noise_before": before, "noise_branch": branch, "choices": choices, **c, **pipe.ids(prompts), "preference_input_ids": ids}
    repeat = lambda value: value.repeat(k, *[1] * (value.ndim - 1))
    wide = {name: repeat(value) for name, value in c.items()}
    judge = lambda latents, t: spm.score(pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample, repeat(ids), t).reshape(k, b)
    comparisons, segment = [], []

    def compare(scores, t):
        best, worst = scores.max(0), scores.min(0)
        p = torch.softmax(torch.stack([best.values, worst.values]), 0)
        comparisons.append((scores, t, best.indices, worst.indices, list(segment), p[0] - p[1]))

    for i in range(steps):
        t = stride * (steps - 1 - i) + 1
        branched = i > d
        eps = guided(pipe.unet, x, t, wide if branched else c, settings["guidance"])
        x0, mean, std = gaussian(x, eps, torch.full([len(x)], t), steps, options.get("eta", 1.0))
        if i < d:
            x = mean + std * before[i]
            continue
        noise = branch[i - d]
        if (i - d) % (inner + 1) == 0:
            if i > d:
                compare(judge(x0, t), t)
                rows = choices[len(comparisons) - 1] * b + torch.arange(b)
                x, mean, std = x[rows], mean[rows], std[rows]
            segment = []
            after = (mean + std * noise).reshape(k * b, *shape[1:])
            segment.append((t, repeat(x), after))
        else:
            after = mean + std * noise.reshape(mean.shape)
            segment.append((t, x, after))
        x = after
    compare(judge(x, 0), 0)
    return found, comparisons


def pairs(comparisons, threshold: float) -> dict[str, torch.Tensor]:
    """By comparison, then by step in the segment, then by prompt."""
    b = len(comparisons[0][2])
    latents, after, timesteps, prompts = [], [], [], []
    for _, _, win, lose, segment, margin in comparisons:
        for t, start, end in segment:
            for row in range(b):
                if margin[row] > threshold:
                    places = torch.stack([win[row], lose[row]]) * b + row
                    latents.append(start[places])
                    after.append(end[places])
                    timesteps.append(t)
                    prompts.append(row)
    return {
        "scores": torch.stack([scores for scores, *_ in comparisons]),
        "score_timesteps": torch.tensor([t for _, t, *_ in comparisons]),
        "indices": torch.stack([torch.stack([win, lose]) for _, _, win, lose, *_ in comparisons]),
        "valid": torch.stack([margin > threshold for *_, margin in comparisons]),
        "pair_latents": torch.stack(latents),
        "pair_next_latents": torch.stack(after),
        "pair_timesteps": torch.tensor(timesteps),
        "pair_prompt": torch.tensor(prompts),
    }
