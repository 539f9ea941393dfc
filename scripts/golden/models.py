"""Tiny pipelines of the real classes in the layout of `save_pretrained`, with random weights that keep values in range."""

from dataclasses import dataclass
from pathlib import Path
import shutil

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from store import write_json

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False,
             set_alpha_to_one=False, skip_prk_steps=True, timestep_spacing="leading")


@dataclass
class Pipeline:
    """The parts of one family, its latents' size, and the tokenizers."""

    family: str
    folder: Path
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: CLIPTextModel
    text_2: CLIPTextModelWithProjection | None
    tokenizer: CLIPTokenizer
    tokenizer_2: CLIPTokenizer | None
    scheduler: PNDMScheduler | EulerDiscreteScheduler
    latents: list[int]

    @property
    def factor(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def image_size(self) -> list[int]:
        return [side * self.factor for side in self.latents]

    def latent_shape(self, batch: int) -> list[int]:
        return [batch, self.vae.config.latent_channels, *self.latents]

    def to(self, dtype: torch.dtype) -> "Pipeline":
        for model in (self.unet, self.vae, self.text, self.text_2):
            if model is not None:
                model.to(dtype)
        return self

    def ids(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        found = {"input_ids": tokenize(self.tokenizer, prompts)}
        if self.tokenizer_2 is not None:
            found["input_ids_2"] = tokenize(self.tokenizer_2, prompts)
        return found

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        """Context, and for SDXL the pooled state: what the pipelines' `encode_prompt` gives."""
        ids = self.ids(prompts)
        if self.text_2 is None:
            return {"prompt_embeds": self.text(ids["input_ids"])[0]}
        first = self.text(ids["input_ids"], output_hidden_states=True)
        second = self.text_2(ids["input_ids_2"], output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        return {"prompt_embeds": context, "pooled": second.text_embeds}

    def conditions(self, prompts: list[str], negative: str | None) -> dict[str, torch.Tensor]:
        """Everything that guidance needs. No negative prompt: the empty string for SD1.5, zeros for SDXL."""
        found = self.embed(prompts)
        if self.text_2 is None:
            uncond = self.embed([negative or ""] * len(prompts))
            return {**found, "negative_prompt_embeds": uncond["prompt_embeds"]}
        if negative is None:
            uncond = {name: torch.zeros_like(value) for name, value in found.items()}
        else:
            uncond = self.embed([negative] * len(prompts))
        height, width = self.image_size
        time_ids = torch.tensor([[height, width, 0, 0, height, width]] * len(prompts), dtype=found["pooled"].dtype)
        return {**found, "negative_prompt_embeds": uncond["prompt_embeds"], "negative_pooled": uncond["pooled"], "time_ids": time_ids}


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    return tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids


def predict(unet: torch.nn.Module, x: torch.Tensor, t, context: torch.Tensor, pooled=None, time_ids=None, **rest) -> torch.Tensor:
    added = None if pooled is None else {"text_embeds": pooled, "time_ids": time_ids}
    return unet(x, t, context, added_cond_kwargs=added, **rest).sample


def guided(unet: torch.nn.Module, x: torch.Tensor, t, c: dict[str, torch.Tensor], g: float) -> torch.Tensor:
    """One batch [uncond; cond], as the pipelines have it. t: one for all, or one a row."""
    twice = t if not torch.is_tensor(t) or t.ndim == 0 else torch.cat([t, t])
    context = torch.cat([c["negative_prompt_embeds"], c["prompt_embeds"]])
    pooled, times = None, None
    if "pooled" in c:
        pooled, times = torch.cat([c["negative_pooled"], c["pooled"]]), torch.cat([c["time_ids"], c["time_ids"]])
    uncond, cond = predict(unet, torch.cat([x, x]), twice, context, pooled, times).chunk(2)
    return uncond + g * (cond - uncond)


def make_tokenizer(source: Path, target: Path, pad: str) -> CLIPTokenizer:
    """The vocabulary and merges of `source` under the settings of the published tokenizers."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(source / name, target / name)
    special = lambda content: {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    tokens = {"bos_token": special("<|startoftext|>"), "eos_token": special("<|endoftext|>"), "unk_token": special("<|endoftext|>"), "pad_token": pad}
    write_json(target / "special_tokens_map.json", tokens)
    typed = {name: {"__type": "AddedToken", **value} if isinstance(value, dict) else value for name, value in tokens.items()}
    write_json(target / "tokenizer_config.json", {**typed, "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
                                                  "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})
    return CLIPTokenizer.from_pretrained(target)


def build(family: str, spec: dict, folder: Path, tokenizer_source: Path, seed: int) -> Pipeline:
    """Makes a family's pipeline and writes its folder."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(tokenizer_source, folder / "tokenizer", "<|endoftext|>")
    xl = family == "sdxl"
    tokenizer_2 = make_tokenizer(tokenizer_source, folder / "tokenizer_2", "!") if xl else None
    text = make_text(spec["text"], tokenizer, CLIPTextModel)
    text_2 = make_text(spec["text_2"], tokenizer, CLIPTextModelWithProjection) if xl else None
    vae = AutoencoderKL(**vae_config(spec["vae"]))
    options = dict(spec["unet"], in_channels=vae.config.latent_channels, out_channels=vae.config.latent_channels,
                   sample_size=spec["latents"] if spec["latents"][0] != spec["latents"][1] else spec["latents"][0])
    if xl:
        projection = text_2.config.projection_dim
        options.update(cross_attention_dim=text.config.hidden_size + text_2.config.hidden_size, addition_embed_type="text_time",
                       projection_class_embeddings_input_dim=projection + 6 * options["addition_time_embed_dim"])
    unet = UNet2DConditionModel(**options)
    scheduler = (EulerDiscreteScheduler if xl else PNDMScheduler).from_config({**BETAS, **spec.get("scheduler", {})})
    pipe = Pipeline(family, folder, unet, vae, text, text_2, tokenizer, tokenizer_2, scheduler, spec["latents"])
    for model in (vae, unet):
        spread(model)
    train_unet(pipe)
    write_folder(pipe, spec)
    return pipe


def vae_config(spec: dict) -> dict:
    levels = len(spec["block_out_channels"])
    return dict(spec, down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels)


def make_text(spec: dict, tokenizer: CLIPTokenizer, cls):
    options = {name: value for name, value in spec.items() if name != "prefix"}
    options.setdefault("projection_dim", spec["hidden_size"])
    eos = options.pop("eos_token_id", 2)
    config = CLIPTextConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id if eos == "end" else eos, **options)
    model = cls(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "embedding" in name:
                value.normal_(0, 0.5)
            elif value.ndim > 1:
                value.normal_(0, value.shape[1] ** -0.5)
            elif "norm" in name and name.endswith("weight"):
                value.normal_(1, 0.1)
            else:
                value.normal_(0, 0.1)
    return model


@torch.no_grad()
def spread(model: torch.nn.Module) -> None:
    """Moves the norms off their initial ones and zeros, so that a forgotten one shows."""
    model.eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            module.weight.normal_(1, 0.1)
            module.bias.normal_(0, 0.1)


def train_unet(pipe: Pipeline, steps: int = 80, batch: int = 4) -> None:
    """A short training on noise prediction, so that sampled latents stay in the usual range."""
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000) ** 2
    alpha_bar = torch.cumprod(1 - betas, 0)
    optimizer = torch.optim.AdamW(pipe.unet.parameters(), lr=2e-3)
    c = pipe.conditions([f"picture number {i}" for i in range(batch)], None)
    pipe.unet.train()
    for _ in range(steps):
        t = torch.randint(0, 1000, [batch])
        # Smooth pictures: their noise can be told from them.
        x0 = torch.nn.functional.interpolate(torch.randn(batch, pipe.latent_shape(1)[1], 2, 2), size=pipe.latents, mode="bilinear")
        noise = torch.randn_like(x0)
        a = alpha_bar[t].reshape(-1, 1, 1, 1)
        made = predict(pipe.unet, a.sqrt() * x0 + (1 - a).sqrt() * noise, t, c["prompt_embeds"], c.get("pooled"), c.get("time_ids"))
        loss = (made - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(pipe.unet.parameters(), 1.0)
        optimizer.step()
    pipe.unet.eval().requires_grad_(False)


def write_folder(pipe: Pipeline, spec: dict) -> None:
    """The folder, with the text encoders' keys as the published files have them."""
    folder = pipe.folder
    pipe.unet.save_pretrained(folder / "unet")
    pipe.vae.save_pretrained(folder / "vae")
    pipe.scheduler.save_pretrained(folder / "scheduler")
    parts = {"text_encoder": (pipe.text, spec["text"]), "text_encoder_2": (pipe.text_2, spec.get("text_2", {}))}
    for name, (model, options) in parts.items():
        if model is None:
            continue
        model.save_pretrained(folder / name)
        rename_text(folder / name / "model.safetensors", model, options.get("prefix", True))
    xl = pipe.family == "sdxl"
    index = {
        "_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", type(pipe.scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if xl:
        index.update(force_zeros_for_empty_prompt=True, text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
                     tokenizer_2=["transformers", "CLIPTokenizer"])
    else:
        index.update(safety_checker=[None, None], requires_safety_checker=False)
    write_json(folder / "model_index.json", index)


def text_weights(model: torch.nn.Module, prefix: bool = True) -> dict[str, torch.Tensor]:
    """The weights with or without `text_model.`, and with the buffer of positions that older files carry."""
    found = {}
    for name, value in model.state_dict().items():
        if name.endswith("position_ids"):
            continue
        bare = name.removeprefix("text_model.")
        whole = bare if bare.startswith("text_projection") or not prefix else f"text_model.{bare}"
        found[whole] = value.clone().contiguous()
    positions = torch.arange(model.config.max_position_embeddings, dtype=torch.int64).unsqueeze(0)
    found[f"{'text_model.' if prefix else ''}embeddings.position_ids"] = positions
    return found


def rename_text(path: Path, model: torch.nn.Module, prefix: bool) -> None:
    wanted = text_weights(model, prefix)
    assert len(load_file(path)) + 1 == len(wanted), "a weight was lost under renaming"
    save_file(wanted, path, metadata={"format": "pt"})
