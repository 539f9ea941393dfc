"""The step-aware preference model on transformers' CLIP, in the key names of its published checkpoint. Formulas: Liang et al. 2024."""

import json
import math
import os

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPConfig, CLIPModel


class TimestepEmbedder(nn.Module):
    def __init__(self, width, frequencies=256):
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t):
        half = self.frequencies // 2
        omega = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
        angle = t[:, None].float() * omega[None]
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))


def modulate(x, shift, scale):
    return x * (1 + scale) + shift


def adaln(width, parts):
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


class StepAwareClip(nn.Module):
    def __init__(self, folder):
        super().__init__()
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        self.model = CLIPModel(CLIPConfig(**self.config))
        width = self.config["vision_config"]["hidden_size"]
        vision = self.model.vision_model
        for layer in vision.encoder.layers:
            layer.adaLN_modulation = adaln(width, 6)
        vision.adaLN_modulation = adaln(width, 2)
        self.model.t_embedder = TimestepEmbedder(width)
        missing, unexpected = self.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=False)
        if unexpected or any("position_ids" not in name for name in missing):
            raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
        self.eval()

    def image_features(self, pixels, t):
        """pixels [n, 3, size, size] normalised, t int64 [n] → [n, projection]."""
        vision = self.model.vision_model
        tau = self.model.t_embedder(t)
        h = vision.pre_layrnorm(vision.embeddings(pixels))
        for layer in vision.encoder.layers:
            parts = layer.adaLN_modulation(tau)[:, None].chunk(6, dim=-1)
            shift1, scale1, gate1, shift2, scale2, gate2 = parts
            attended, _ = layer.self_attn(modulate(layer.layer_norm1(h), shift1, scale1), attention_mask=None)
            h = h + gate1 * attended
            h = h + gate2 * layer.mlp(modulate(layer.layer_norm2(h), shift2, scale2))
        shift, scale = vision.adaLN_modulation(tau).chunk(2, dim=-1)
        pooled = modulate(vision.post_layernorm(h[:, 0]), shift, scale)
        return self.model.visual_projection(pooled)

    def text_features(self, ids):
        return self.model.get_text_features(input_ids=ids).pooler_output

    def scores(self, pixels, t, ids):
        image = self.image_features(pixels, t)
        text = self.text_features(ids)
        image = image / image.norm(dim=-1, keepdim=True)
        text = text / text.norm(dim=-1, keepdim=True)
        return self.model.logit_scale.exp() * (image * text).sum(-1)


MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def score_pixels(image, size):
    """Decoded images about [−1, 1], square → what the vision tower sees."""
    if image.shape[-1] != size:
        image = nn.functional.interpolate(image, size=(size, size), mode="bicubic", align_corners=False)
    pixels = (image / 2 + 0.5).clamp(0, 1)
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
