"""Makes golden values of the scorers of finished images.

Tiny models with random weights, in the layouts that the real ones are published in.

    python scripts/golden/rewards.py --tokenizer tests/golden/small/clip-tokenizer --out tests/golden/small/rewards [--seed 1]

CLIP and PickScore come from transformers, HPS v2 from open_clip, ImageReward from transformers' BLIP (the same architecture under other names
in its image tower) and the formulas of the image-reward package; pixels from Pillow, torchvision and transformers. One thread, float32 on the
CPU: the same seed gives the same values.

Needs torch, torchvision, transformers, open_clip_torch, pillow and safetensors.
"""

import argparse
import copy
import json
from pathlib import Path

import numpy as np
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image
import torch
from torch import nn
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import BertTokenizer, BlipTextConfig, BlipVisionConfig, CLIPConfig, CLIPModel
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models import make_tokenizer, tokenize
from spm import MEAN, STD
from store import errors, save, write_json

SIZE = 24
# Wide, square, tall, smaller than the model's, and one that is only cut, by an odd rest. (Pillow 13 resizes what is more than
# about twice as high as wide in another order of the axes than the releases with which the scores were published: none of these.)
SIZES = [(37, 53), (64, 64), (61, 31), (9, 13), (31, 24)]
PROMPTS = ["a photo of an astronaut riding a horse", "wow!!! really?!?", "café, 日本語 and more", "", "a photo of an astronaut riding a horse"]
MED_MEAN, MED_STD = 0.16717362830052426, 1.0333394966054072


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    images = make_images(options.seed)
    arrays = {f"image.{i}": torch.from_numpy(np.asarray(image).copy()) for i, image in enumerate(images)}
    pixels = make_pixels(images)
    save(options.out / "pixels.safetensors", {**arrays, **pixels}, {"size": SIZE, "mean": MEAN, "std": STD})
    with torch.no_grad():
        write_clip(options, pixels)
        write_open_clip(options, pixels)
        write_image_reward(options, pixels)
    write_bert_cases(options.out)


def make_images(seed: int) -> list[Image.Image]:
    """Coarse noise made larger, with fine noise on top: something for every frequency."""
    rng = np.random.default_rng(seed)
    images = []
    for height, width in SIZES:
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((width, height), Image.BILINEAR)
        noise = rng.normal(0, 40, (height, width, 3))
        images.append(Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)))
    return images


def make_pixels(images: list[Image.Image]) -> dict[str, torch.Tensor]:
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_mean=MEAN, image_std=STD)
    resize, crop, normalize = Resize(SIZE, interpolation=InterpolationMode.BICUBIC), CenterCrop(SIZE), Normalize(MEAN, STD)
    on_pil = Compose([resize, crop, ToTensor(), normalize])  # OpenAI's CLIP, ImageReward
    on_tensors = Compose([ToTensor(), resize, crop, normalize])  # hpsv2
    return {
        "transformers": processor(images, return_tensors="pt")["pixel_values"],
        "torchvision": torch.stack([on_pil(image) for image in images]),
        "hps": torch.stack([on_tensors(image) for image in images]),
    }


def randomize(model: nn.Module, seed: int) -> nn.Module:
    """Values that keep activations in range and leave nothing at a trivial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            norm = any(part in name.lower() for part in ("norm", "ln_"))
            if name.endswith("logit_scale"):
                value.fill_(2.9)
            elif value.ndim < 2 and name.endswith("weight") and norm:
                value.copy_(1 + 0.1 * noise)
            elif value.ndim < 2:
                value.copy_(0.1 * noise)
            else:
                value.copy_(noise * (0.5 if "embed" in name and "patch" not in name else value[0].numel() ** -0.5))
    return model.eval()


def double(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


class Head(nn.Module):
    """improved-aesthetic-predictor's MLP, and ImageReward's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        maps = [nn.Linear(width, 10), nn.Dropout(0.2), nn.Linear(10, 8), nn.Dropout(0.2), nn.Linear(8, 6), nn.Dropout(0.1), nn.Linear(6, 4), nn.Linear(4, 1)]
        self.layers = nn.Sequential(*maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).squeeze(-1)


def write_clip(options, pixels) -> None:
    folder = options.out / "clip"
    tokenizer = make_tokenizer(options.tokenizer, folder, "<|endoftext|>")
    ids = tokenize(tokenizer, PROMPTS)
    config = CLIPConfig(
        projection_dim=10,
        text_config=dict(hidden_size=16, intermediate_size=24, num_attention_heads=4, num_hidden_layers=2, vocab_size=len(tokenizer), hidden_act="quick_gelu", eos_token_id=2),
        vision_config=dict(hidden_size=24, intermediate_size=40, num_attention_heads=3, num_hidden_layers=2, image_size=SIZE, patch_size=8, hidden_act="gelu"),
    )
    model = randomize(CLIPModel(config), options.seed + 1)
    head = randomize(Head(10), options.seed + 2)
    model.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {"crop_size": SIZE, "image_mean": MEAN, "image_std": STD, "resample": 3, "size": SIZE})
    torch.save(head.state_dict(), options.out / "aesthetic-head.pth")

    def run(model: CLIPModel, head: Head, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        text = unit(features(model.get_text_features(ids)))
        by_transformers = unit(features(model.get_image_features(pixels["transformers"].to(dtype))))
        by_torchvision = unit(features(model.get_image_features(pixels["torchvision"].to(dtype))))
        cosines = (text * by_transformers).sum(-1)
        return {"text_features": text, "image_features": by_transformers, "pickscore": model.logit_scale.exp() * cosines,
                "clip": 100 * cosines, "aesthetic": head(by_torchvision)}

    found = run(model, head, torch.float32)
    gaps = errors(found, run(double(model), double(head), torch.float64))
    save(options.out / "expected-clip.safetensors", {**found, "input_ids": ids}, {"prompts": PROMPTS, "fp32_error_vs_fp64": gaps})


def features(output) -> torch.Tensor:
    """transformers 5 gives the whole output, older releases the projected features."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def write_open_clip(options, pixels) -> None:
    folder = options.out / "open-clip"
    folder.mkdir(exist_ok=True)
    tokenizer = make_tokenizer(options.tokenizer, options.out / "clip", "<|endoftext|>")
    # open_clip fills up with 0; what follows the end token cannot matter.
    ids = tokenize(tokenizer, PROMPTS)
    vision = dict(image_size=SIZE, layers=2, width=24, head_width=8, patch_size=8)
    text = dict(context_length=77, vocab_size=len(tokenizer), width=16, heads=2, layers=2)
    model = randomize(CLIP(10, CLIPVisionCfg(**vision), CLIPTextCfg(**text), output_dict=True), options.seed + 3)
    state = {name: value.half() for name, value in model.state_dict().items()}  # as in the compressed file
    torch.save({"epoch": 3, "name": "tiny", "state_dict": state}, folder / "tiny_hps.pt")
    write_json(folder / "open_clip_config.json", {"model_cfg": {"embed_dim": 10, "vision_cfg": vision, "text_cfg": text}})
    model.load_state_dict({name: value.float() for name, value in state.items()})

    def run(model: CLIP, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        output = model(pixels["hps"].to(dtype), ids)
        image, text = output["image_features"], output["text_features"]
        return {"image_features": image, "text_features": text, "hps": (image @ text.T).diagonal()}

    found = run(model, torch.float32)
    gaps = errors(found, run(double(model), torch.float64))
    save(options.out / "expected-hps.safetensors", found, {"prompts": PROMPTS, "fp32_error_vs_fp64": gaps})


# BLIP's image tower: transformers' names → those of its authors.
VISION_NAMES = {
    "embeddings.class_embedding": "cls_token", "embeddings.position_embedding": "pos_embed", "embeddings.patch_embedding": "patch_embed.proj",
    "encoder.layers": "blocks", "self_attn.qkv": "attn.qkv", "self_attn.projection": "attn.proj", "layer_norm1": "norm1", "layer_norm2": "norm2",
    "post_layernorm": "norm",
}


def write_image_reward(options, pixels) -> None:
    folder = options.out / "image-reward"
    folder.mkdir(exist_ok=True)
    vocabulary = bert_vocabulary()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = bert_tokenizer(folder)
    encoded = tokenizer(PROMPTS, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    vision_config = BlipVisionConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=SIZE, patch_size=8, layer_norm_eps=1e-6, hidden_act="gelu")
    text_config = BlipTextConfig(vocab_size=len(vocabulary) + 2, hidden_size=16, encoder_hidden_size=24, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2,
                                 max_position_embeddings=40, hidden_act="gelu", layer_norm_eps=1e-12, is_decoder=True)
    vision, text = randomize(BlipVisionModel(vision_config), options.seed + 4), randomize(BlipTextModel(text_config, add_pooling_layer=False), options.seed + 5)
    head = randomize(Head(16), options.seed + 6)
    weights = {f"blip.visual_encoder.{renamed(name)}": value for name, value in vision.state_dict().items()}
    weights.update({f"blip.text_encoder.{name}": value for name, value in text.state_dict().items()})
    weights.update({"blip.text_encoder.embeddings.position_ids": torch.arange(40)[None], "blip.vision_proj.weight": torch.zeros(4, 24),
                    "blip.text_proj.weight": torch.zeros(4, 16)})
    weights.update({f"mlp.{name}": value for name, value in head.state_dict().items()})
    torch.save(weights, folder / "ImageReward.pt")
    write_json(folder / "med_config.json", {"architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": 16, "intermediate_size": 28, "layer_norm_eps": 1e-12,
                                            "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": len(vocabulary) + 2, "encoder_width": 24, "add_cross_attention": True})

    def run(vision, text, head, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        tokens = vision(pixels["torchvision"].to(dtype)).last_hidden_state
        hidden = text(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask, encoder_hidden_states=tokens,
                      encoder_attention_mask=torch.ones(tokens.shape[:-1], dtype=torch.long), is_decoder=False).last_hidden_state
        return {"image_tokens": tokens, "imagereward": (head(hidden[:, 0]) - MED_MEAN) / MED_STD}

    found = run(vision, text, head, torch.float32)
    gaps = errors(found, run(double(vision), double(text), double(head), torch.float64))
    ids = {"input_ids": encoded.input_ids, "attention_mask": encoded.attention_mask}
    save(options.out / "expected-imagereward.safetensors", {**ids, **found}, {"prompts": PROMPTS, "vision_heads": 3, "fp32_error_vs_fp64": gaps})


def renamed(name: str) -> str:
    for before, after in VISION_NAMES.items():
        name = name.replace(before, after)
    return name


def bert_vocabulary() -> list[str]:
    """Special tokens where bert-base-uncased has the first, single characters, and some pieces of words."""
    singles = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") | set("ßéσςжи日本語アァ中文한글—“”…€½²"))
    pieces = ["photo", "horse", "astro", "riding", "real", "cafe", "more", "and", "of", "an", "hello", "world", "istanbul", "unic", "ode", "σας", "οδος"]
    endings = ["ly", "naut", "s", "ing", "ode", "ed", "ette"]
    return list(dict.fromkeys(["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *singles, *(f"##{single}" for single in singles), *pieces, *(f"##{ending}" for ending in endings)]))


def bert_tokenizer(folder: Path) -> BertTokenizer:
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=True)
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return tokenizer


def write_bert_cases(out: Path) -> None:
    tokenizer = bert_tokenizer(out / "image-reward")
    texts = json.loads((Path(__file__).parent / "texts.json").read_text())
    texts += ["[DEC] a [ENC] photo [SEP] [PAD]x[MASK]", "photographed horsed unicoded", "x" * 101, "x" * 100, " ".join(["astronauts"] * 40), "naïve Ångström ÉCOLE", "日本語テキスト中文mix"]
    encoded = [tokenizer(text, padding="max_length", truncation=True, max_length=35) for text in texts]
    cases = [{"prompt": text, "ids": each.input_ids, "length": sum(each.attention_mask)} for text, each in zip(texts, encoded)]
    lines = ",\n".join(json.dumps(case) for case in cases)
    (out / "bert-cases.json").write_text(f'{{"max_length": 35, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
