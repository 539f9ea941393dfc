"""Scores of a diffusion-native latent reward model (DiNa-LRM), computed by diffusers, peft and torch from the formulas of its paper.

    python latent_reward_flow.py write CASE.json    makes a model's folder, and inputs with their scores; for latent-reward-flow.mjs
    python latent_reward_flow.py read CASE.json     scores the same inputs by a folder that we wrote
    python latent_reward_flow.py formula            the scores of dina-lrm.test.ts
"""

import json
import math
import os
import sys

import peft
import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import nn

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
# Both sides are float32, summed in other orders.
TOLERANCE = 2e-5


class Backbone(nn.Module):
    """The first blocks; their tokens after those of the given numbers."""

    def __init__(self, transformer, layers):
        super().__init__()
        self.pos_embed = transformer.pos_embed
        self.time_text_embed = transformer.time_text_embed
        self.context_embedder = transformer.context_embedder
        self.transformer_blocks = transformer.transformer_blocks[:layers]

    def forward(self, latents, timesteps, context, pooled, image_after, text_after):
        temb = self.time_text_embed(timesteps, pooled)
        image, text = self.pos_embed(latents), self.context_embedder(context)
        images, texts = [], []
        for number, block in enumerate([None, *self.transformer_blocks]):
            if block is not None:
                text, image = block(hidden_states=image, encoder_hidden_states=text, temb=temb)
            if number in image_after:
                images.append(image)
            if number in text_after:
                texts.append(text)
        return temb, images, texts


def head_shapes(token, width, images, texts, queries):
    """Names and shapes of the head's tensors, as its published file has them."""
    shapes = {"query_tokens": (1, queries, width)}

    def linear(name, inputs, outputs):
        shapes[f"{name}.weight"] = (outputs, inputs)
        shapes[f"{name}.bias"] = (outputs,)

    for kind, count in (("visual", images), ("text", texts)):
        for i in range(count):
            name = f"layer_adapters_{kind}.{i}"
            shapes[f"{name}.layer_embed"] = (1, 1, width)
            linear(f"{name}.cond_mlp.0", token, 2 * width)
            linear(f"{name}.cond_mlp.2", 2 * width, 2 * width)
            linear(f"{name}.proj", width, width // 4)
        linear(f"agg_{kind}", count * (width // 4), width)
    for name in ("attn1", "attn2"):
        both = ["vis", "text"] if name == "attn1" else ["vis"]
        for norm in ["q", "v", "t"][: 1 + len(both)]:
            shapes[f"{name}.norm_{norm}.weight"] = (width,)
        for layer in ["to_q", "to_out.0", *(f"to_{part}_{each}" for part in "kv" for each in both)]:
            linear(f"{name}.{layer}", width, width)
        if name == "attn1":
            for each in both:
                linear(f"{name}.gate_{each}.0", width, width)
                linear(f"{name}.gate_{each}.2", width, 1)
    shapes["norm_ff.weight"] = (width,)
    linear("ff.0", width, 4 * width)
    linear("ff.2", 4 * width, width)
    linear("head", width, 1)
    return shapes


def head_score(w, temb, images, texts, heads):
    """The score by a head's tensors `w`. [b]"""

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def rms(name, x):
        eps = torch.finfo(x.dtype).eps
        return w[f"{name}.weight"] * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()

    def tokens(kind, states):
        narrow = []
        for i, x in enumerate(states):
            name = f"layer_adapters_{kind}.{i}"
            told = linear(f"{name}.cond_mlp.2", F.silu(linear(f"{name}.cond_mlp.0", temb)))[:, None]
            half = told.shape[-1] // 2
            x = x * (1 + told[..., :half]) + told[..., half:] + w[f"{name}.layer_embed"]
            narrow.append(linear(f"{name}.proj", x))
        return linear(f"agg_{kind}", torch.cat(narrow, -1))

    def attention(name, queries, sides):
        q = linear(f"{name}.to_q", rms(f"{name}.norm_q", queries))
        total = 0
        for side, norm, x in sides:
            x = rms(f"{name}.{norm}", x)
            k, v = linear(f"{name}.to_k_{side}", x), linear(f"{name}.to_v_{side}", x)
            if f"{name}.gate_{side}.0.weight" in w:
                v = v * torch.sigmoid(linear(f"{name}.gate_{side}.2", F.silu(linear(f"{name}.gate_{side}.0", x))))
            size = q.shape[-1] // heads
            parts = []
            for head in range(heads):
                at = slice(head * size, (head + 1) * size)
                share = torch.softmax(q[..., at] @ k[..., at].transpose(1, 2) / math.sqrt(size), -1)
                parts.append(share @ v[..., at])
            total = total + torch.cat(parts, -1)
        return queries + linear(f"{name}.to_out.0", total)

    image, text = tokens("visual", images), tokens("text", texts)
    queries = w["query_tokens"].expand(temb.shape[0], -1, -1)
    queries = attention("attn1", queries, [("vis", "norm_v", image), ("text", "norm_t", text)])
    queries = attention("attn2", queries, [("vis", "norm_v", image)])
    queries = queries + linear("ff.2", F.gelu(linear("ff.0", rms("norm_ff", queries))))
    return linear("head", queries).squeeze(-1).mean(1)


def wrap(transformer, model):
    backbone = Backbone(transformer, model["num_transformer_layers"])
    lora = model["lora_config"]
    config = peft.LoraConfig(r=lora["r"], lora_alpha=lora["lora_alpha"], target_modules=TARGETS)
    return peft.get_peft_model(backbone, config)


@torch.no_grad()
def score(backbone, head, model, case):
    states = backbone(
        *(case[name] for name in ("latents", "timesteps", "context", "pooled")),
        model["visual_head_idx"],
        model["text_head_idx"],
    )
    return head_score(head, *states, model["reward_head"]["num_attn_heads"])


@torch.no_grad()
def write(case):
    torch.manual_seed(3)
    transformer = SD3Transformer2DModel.from_pretrained(case["transformer"])
    size = transformer.config
    layers = size.num_layers - 1
    width = size.num_attention_heads * size.attention_head_dim
    model = {
        "num_transformer_layers": layers,
        "freeze_backbone": False,
        "use_lora": True,
        "use_text_features": True,
        "lora_config": {"r": 3, "lora_alpha": 6, "init_lora_weights": "gaussian"},
        "use_logistic": False,
        "visual_head_idx": list(range(1, layers + 1)),
        "text_head_idx": [layers],
        "use_t_embed": True,
        "reward_head": {"use_proj_in": False, "width": -1, "out_dim": 1, "num_queries": 5, "num_attn_heads": 4, "dropout": 0.0},
    }
    backbone = wrap(transformer, model)
    for name, value in backbone.named_parameters():
        if "lora_" in name:
            value.normal_(0, 0.3)
    shapes = head_shapes(width, width, layers, 1, 5)
    head = {name: torch.randn(shape) * 0.3 + ("norm" in name) for name, shape in shapes.items()}
    folder = os.path.join(case["folder"], "checkpoint")
    backbone.save_pretrained(os.path.join(folder, "backbone_lora"))
    torch.save(head, os.path.join(folder, "rm_head.pt"))
    with open(os.path.join(case["folder"], "config.json"), "w") as file:
        json.dump({"model": model}, file)
    side = size.sample_size
    inputs = {
        "latents": torch.randn(3, size.in_channels, side, side - 4),
        "timesteps": torch.tensor([930.25, 401.0, 0.0]),
        "context": torch.randn(3, 9, size.joint_attention_dim),
        "pooled": torch.randn(3, size.pooled_projection_dim),
    }
    scores = score(backbone, head, model, inputs)
    save_file({**inputs, "scores": scores}, case["inputs"])


def read(case):
    with open(os.path.join(case["folder"], "config.json")) as file:
        model = json.load(file)["model"]
    layers = model["num_transformer_layers"]
    backbone = Backbone(SD3Transformer2DModel.from_pretrained(case["transformer"]), layers)
    folder = os.path.join(case["folder"], "checkpoint")
    backbone = peft.PeftModel.from_pretrained(backbone, os.path.join(folder, "backbone_lora"))
    head = torch.load(os.path.join(folder, "rm_head.pt"), weights_only=True)
    inputs = load_file(case["inputs"])
    apart = (score(backbone, head, model, inputs) - inputs["scores"]).abs().max().item()
    print(f"our folder in peft and torch: scores at most {apart:.1e} apart")
    return apart < TOLERANCE


@torch.no_grad()
def formula():
    """Every tensor's value j is a sine of j and of the tensor's place among the sorted names; norms are about 1."""

    def fill(tensors):
        for i, name in enumerate(sorted(tensors)):
            value = tensors[name]
            wave = torch.sin(0.37 * torch.arange(value.numel(), dtype=torch.float64) + 1.3 * i).reshape(value.shape)
            value.copy_(1 + 0.2 * wave if "norm_" in name else 0.4 * wave)
        return tensors

    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=4, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=12, caption_projection_dim=16, pooled_projection_dim=10, pos_embed_max_size=6,
        dual_attention_layers=(0, 1), qk_norm="rms_norm",
    )  # fmt: skip
    model = {
        "num_transformer_layers": 3,
        "visual_head_idx": [0, 1, 3],
        "text_head_idx": [2, 3],
        "lora_config": {"r": 2, "lora_alpha": 4},
        "reward_head": {"num_attn_heads": 2},
    }
    backbone = wrap(transformer, model)
    inner = backbone.base_model.model
    names = {name.replace(".base_layer", ""): value for name, value in inner.named_parameters() if "lora_" not in name}
    names["pos_embed.pos_embed"] = inner.pos_embed.pos_embed
    fill(names)
    fill({name.replace(".default", ""): value for name, value in inner.named_parameters() if "lora_" in name})
    head = fill({name: torch.empty(shape) for name, shape in head_shapes(16, 16, 3, 2, 3).items()})
    case = fill({"latents": torch.empty(2, 4, 8, 4), "context": torch.empty(2, 5, 12), "pooled": torch.empty(2, 10)})
    case["timesteps"] = torch.tensor([812.5, 12.0])
    print(score(backbone, head, model, case).tolist())


if __name__ == "__main__":
    if sys.argv[1] == "formula":
        formula()
    else:
        with open(sys.argv[2]) as opened:
            given = json.load(opened)
        sys.exit(0 if {"write": write, "read": read}[sys.argv[1]](given) in (None, True) else 1)
