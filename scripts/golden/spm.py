"""The step-aware preference model, written from its formulas over a flat dictionary of weights."""

from dataclasses import dataclass
import math
from pathlib import Path

import torch
from torch.nn.functional import gelu, interpolate, layer_norm, linear

from models import tokenize
from store import save, write_json

# CLIP's own; a variant may have others.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass
class Spm:
    """weights: by the published checkpoint's names, with their prefix `model.`."""

    spec: dict
    weights: dict[str, torch.Tensor]

    @property
    def size(self) -> int:
        return self.spec["vision"]["image_size"]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        column = lambda values: torch.tensor(values, dtype=pixels.dtype).reshape(1, 3, 1, 1)
        return (pixels - column(self.spec.get("mean", MEAN))) / column(self.spec.get("std", STD))

    def get(self, name: str) -> torch.Tensor:
        return self.weights[f"model.{name}"]

    def layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.get(f"{name}.weight"), self.weights.get(f"model.{name}.bias"))

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], self.get(f"{name}.weight"), self.get(f"{name}.bias"), 1e-5)

    def attention(self, name: str, x: torch.Tensor, heads: int, causal: bool) -> torch.Tensor:
        b, n, width = x.shape
        q, k, v = (self.layer(f"{name}.{side}_proj", x).reshape(b, n, heads, -1).transpose(1, 2) for side in "qkv")
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
        if causal:
            scores = scores + torch.full([n, n], -math.inf, dtype=x.dtype).triu(1)
        return self.layer(f"{name}.out_proj", (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, width))

    def mlp(self, name: str, x: torch.Tensor, act: str) -> torch.Tensor:
        h = self.layer(f"{name}.fc1", x)
        return self.layer(f"{name}.fc2", gelu(h) if act == "gelu" else h * torch.sigmoid(1.702 * h))

    def text_features(self, ids: torch.Tensor) -> torch.Tensor:
        spec = self.spec["text"]
        h = self.get("text_model.embeddings.token_embedding.weight")[ids]
        h = h + self.get("text_model.embeddings.position_embedding.weight")[: ids.shape[1]]
        for i in range(spec["num_hidden_layers"]):
            at = f"text_model.encoder.layers.{i}"
            h = h + self.attention(f"{at}.self_attn", self.norm(f"{at}.layer_norm1", h), spec["num_attention_heads"], True)
            h = h + self.mlp(f"{at}.mlp", self.norm(f"{at}.layer_norm2", h), spec["hidden_act"])
        h = self.norm("text_model.final_layer_norm", h)
        return self.layer("text_projection", h[torch.arange(len(ids)), ids.argmax(-1)])

    def sinusoid(self, t: torch.Tensor) -> torch.Tensor:
        half = self.spec["time"]["frequency_embedding_size"] // 2
        omega = torch.exp(-math.log(self.spec["time"]["max_period"]) * torch.arange(half, dtype=torch.float32) / half)
        angle = t.float()[:, None] * omega
        return torch.cat([angle.cos(), angle.sin()], -1)

    def image_features(self, pixels: torch.Tensor, t: torch.Tensor, see=lambda name, value: None) -> torch.Tensor:
        """t [n]."""
        spec = self.spec["vision"]
        silu = torch.nn.functional.silu
        tau = self.layer("t_embedder.mlp.2", silu(self.layer("t_embedder.mlp.0", self.sinusoid(t).to(pixels.dtype))))
        see("time_embedding", tau)
        patches = torch.nn.functional.conv2d(pixels, self.get("vision_model.embeddings.patch_embedding.weight"), stride=spec["patch_size"])
        patches = patches.flatten(2).transpose(1, 2)
        token = self.get("vision_model.embeddings.class_embedding").expand(len(pixels), 1, -1)
        h = torch.cat([token, patches], 1) + self.get("vision_model.embeddings.position_embedding.weight")
        h = self.norm("vision_model.pre_layrnorm", h)
        see("pre_layrnorm", h)
        modulate = lambda x, shift, scale: x * (1 + scale[:, None]) + shift[:, None]
        for i in range(spec["num_hidden_layers"]):
            at = f"vision_model.encoder.layers.{i}"
            shift1, scale1, gate1, shift2, scale2, gate2 = self.layer(f"{at}.adaLN_modulation.1", silu(tau)).chunk(6, -1)
            x = modulate(self.norm(f"{at}.layer_norm1", h), shift1, scale1)
            h = h + gate1[:, None] * self.attention(f"{at}.self_attn", x, spec["num_attention_heads"], False)
            h = h + gate2[:, None] * self.mlp(f"{at}.mlp", modulate(self.norm(f"{at}.layer_norm2", h), shift2, scale2), spec["hidden_act"])
            see(f"layer.{i}", h)
        shift, scale = self.layer("vision_model.adaLN_modulation.1", silu(tau)).chunk(2, -1)
        pooled = self.norm("vision_model.post_layernorm", h[:, 0]) * (1 + scale) + shift
        see("pooled", pooled)
        return self.layer("visual_projection", pooled)

    def scores(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.get("logit_scale").exp() * torch.nn.functional.cosine_similarity(image, text, -1)

    def score(self, decoded: torch.Tensor, ids: torch.Tensor, t: int) -> torch.Tensor:
        pixels = score_pixels(decoded, self)["pixel_values"]
        return self.scores(self.image_features(pixels, torch.full([len(pixels)], t)), self.text_features(ids))


def score_pixels(image: torch.Tensor, spm: Spm) -> dict[str, torch.Tensor]:
    size = spm.size
    height, width = image.shape[-2:]
    scale = size / min(height, width)
    resized = bicubic(image, [int(height * scale + 0.5), int(width * scale + 0.5)])
    top, left = round((resized.shape[-2] - size) / 2), round((resized.shape[-1] - size) / 2)
    cropped = resized[..., top : top + size, left : left + size]
    return {"resized": resized, "cropped": cropped, "pixel_values": spm.normalise((cropped / 2 + 0.5).clamp(0, 1))}


def train_pixels(image: torch.Tensor, spm: Spm) -> torch.Tensor:
    return spm.normalise(bicubic((image / 2 + 0.5).clamp(0, 1), [spm.size, spm.size]).clamp(0, 1))


def bicubic(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    return interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=False)


def build_spm(spec: dict, vocab: int, seed: int) -> Spm:
    """Random weights; the gates near 1, as training leaves them."""
    torch.manual_seed(seed)
    weights: dict[str, torch.Tensor] = {"logit_scale": torch.tensor(spec["logit_scale"])}
    width, text = spec["vision"]["hidden_size"], spec["text"]["hidden_size"]

    def affine(name, out, inner, bias=True, scale=1.0):
        weights[f"{name}.weight"] = torch.randn(out, inner) * scale * inner**-0.5
        if bias:
            weights[f"{name}.bias"] = torch.randn(out) * 0.1

    def norm(name, size):
        weights[f"{name}.weight"] = 1 + torch.randn(size) * 0.1
        weights[f"{name}.bias"] = torch.randn(size) * 0.1

    def encoder(tower, options, time):
        size, inner = options["hidden_size"], options["intermediate_size"]
        for i in range(options["num_hidden_layers"]):
            at = f"{tower}.encoder.layers.{i}"
            for side in ("k", "v", "q", "out"):
                affine(f"{at}.self_attn.{side}_proj", size, size)
            norm(f"{at}.layer_norm1", size)
            affine(f"{at}.mlp.fc1", inner, size)
            affine(f"{at}.mlp.fc2", size, inner)
            norm(f"{at}.layer_norm2", size)
            if time:
                affine(f"{at}.adaLN_modulation.1", 6 * size, size, scale=0.3)
                for gate in (2, 5):
                    weights[f"{at}.adaLN_modulation.1.bias"][gate * size : (gate + 1) * size] += 1

    weights["text_model.embeddings.token_embedding.weight"] = torch.randn(vocab, text) * 0.5
    weights["text_model.embeddings.position_embedding.weight"] = torch.randn(77, text) * 0.2
    encoder("text_model", spec["text"], False)
    norm("text_model.final_layer_norm", text)
    patches = (spec["vision"]["image_size"] // spec["vision"]["patch_size"]) ** 2
    weights["vision_model.embeddings.class_embedding"] = torch.randn(width) * 0.5
    side = spec["vision"]["patch_size"]
    weights["vision_model.embeddings.patch_embedding.weight"] = torch.randn(width, 3, side, side) * (3 * side * side) ** -0.5
    weights["vision_model.embeddings.position_embedding.weight"] = torch.randn(patches + 1, width) * 0.2
    norm("vision_model.pre_layrnorm", width)
    encoder("vision_model", spec["vision"], True)
    norm("vision_model.post_layernorm", width)
    affine("vision_model.adaLN_modulation.1", 2 * width, width, scale=0.3)
    affine("visual_projection", spec["projection_dim"], width, bias=False)
    affine("text_projection", spec["projection_dim"], text, bias=False)
    affine("t_embedder.mlp.0", width, spec["time"]["frequency_embedding_size"])
    affine("t_embedder.mlp.2", width, width)
    return Spm(spec, {f"model.{name}": value for name, value in weights.items()})


def write_spm(spm: Spm, folder: Path, vocab: int) -> None:
    spec = spm.spec
    patches = (spm.size // spec["vision"]["patch_size"]) ** 2
    positions = {
        "model.text_model.embeddings.position_ids": torch.arange(77).unsqueeze(0),
        "model.vision_model.embeddings.position_ids": torch.arange(patches + 1).unsqueeze(0),
    }
    # The published checkpoint has the prefix; a variant may do without.
    named = {spec.get("prefix", "model.") + name.removeprefix("model."): value for name, value in {**spm.weights, **positions}.items()}
    save(folder / "tiny-spm" / "model.safetensors", named)
    common = {"projection_dim": spec["projection_dim"], "layer_norm_eps": 1e-5}
    write_json(folder / "tiny-spm" / "config.json", {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": spec["projection_dim"],
        "logit_scale_init_value": 2.6592,
        "text_config": {**common, **spec["text"], "vocab_size": vocab, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 2,
                        "pad_token_id": 1, "model_type": "clip_text_model"},
        "vision_config": {**common, **spec["vision"], "num_channels": 3, "model_type": "clip_vision_model"},
        "time_conditioning": spec["time"],
    })
    square = {"height": spm.size, "width": spm.size}
    write_json(folder / "tiny-spm" / "preprocessor_config.json", {
        "crop_size": square, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_resize": True, "image_mean": spec.get("mean", MEAN),
        "image_std": spec.get("std", STD), "image_processor_type": "CLIPImageProcessor", "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": spm.size},
    })


@torch.no_grad()
def write_expected_spm(spm: Spm, folder: Path, tokenizer, prompts: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    n = len(prompts)
    ids = tokenize(tokenizer, prompts)
    pixels = spm.normalise(torch.rand(n, 3, spm.size, spm.size))
    timesteps = torch.tensor([0, 251, 501, 701, 951])
    mixed = torch.randint(0, 1000, [n])
    text = spm.text_features(ids)
    found = {"input_ids": ids, "pixel_values": pixels, "timesteps": timesteps, "mixed_timesteps": mixed, "text_features": text,
             "sinusoid": spm.sinusoid(timesteps)}
    for i, t in enumerate(timesteps):
        image = spm.image_features(pixels, t.expand(n))
        found.update({f"image_features.{i}": image, f"scores.{i}": spm.scores(image, text)})
    found["mixed_scores"] = spm.scores(spm.image_features(pixels, mixed), text)
    spm.image_features(pixels, timesteps[2].expand(n), lambda name, value: found.update({f"taps/{name}": value}))
    save(folder / "expected-spm.safetensors", found, {"prompts": prompts, "logit_scale": spm.spec["logit_scale"], "tap_timestep": 501})


@torch.no_grad()
def write_preprocess(spm: Spm, folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    found = {}
    for i, (height, width) in enumerate([(32, 32), (spm.size, spm.size), (25, 21), (18, 37), (11, 40)]):
        image = torch.randn(1, 3, height, width) * 0.8
        found[f"score.{i}.image"] = image
        found.update({f"score.{i}.{name}": value for name, value in score_pixels(image, spm).items()})
        found[f"train.{i}.pixel_values"] = train_pixels(image, spm)
    save(folder / "spm-preprocess.safetensors", found, {"size": spm.size, "image_mean": spm.spec.get("mean", MEAN), "image_std": spm.spec.get("std", STD)})
