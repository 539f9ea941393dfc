import os

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel, SD3Transformer2DModel
from full_size import Later, prediction, training
from peft import LoraConfig
from safetensors.torch import load_file
from serve import device, serve

TIMESTEP = 501
GUIDANCE = 3.5
FIRST = "transformer_blocks.0.attn.to_q"


def make(folder):
    sd35, few, lora = "SD3.5 Medium", "SD3.5, 2 blocks", "LoRA, checkpointing, forward + backward"
    half = torch.bfloat16
    return {
        f"{sd35}, bfloat16, forward": Later(lambda: forward(folder, "sd35", half)),
        f"{sd35}, bfloat16, {lora}": Later(lambda: with_lora(folder, "sd35", half)),
        f"{few}, bfloat16, forward": Later(lambda: forward(folder, "sd35-2", half)),
        f"{few}, bfloat16, {lora}": Later(lambda: with_lora(folder, "sd35-2", half)),
        f"{few}, float32, {lora}": Later(lambda: with_lora(folder, "sd35-2", torch.float32)),
        "FLUX, 2 + 4 blocks, bfloat16, forward": Later(lambda: forward(folder, "flux-2-4", half)),
    }


def forward(folder, name, dtype):
    _, predict = predictor(folder, name, dtype)
    return prediction(predict)


def with_lora(folder, name, dtype):
    model, predict = predictor(folder, name, dtype)
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    values = load_file(os.path.join(folder, f"{name}-lora.safetensors"))
    trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == len(values)
    for key, weight in trained.items():
        weight.data = values[key.replace(".default.weight", "")].to(device())
    model.enable_gradient_checkpointing()
    model.train()
    return training(model, predict, trained[f"{FIRST}.lora_B.default.weight"])


def predictor(folder, name, dtype):
    inputs = load_file(os.path.join(folder, "inputs.safetensors"))
    sample, context, pooled = (
        inputs[key].to(device(), dtype) for key in ("sample", "context", f"{name}/pooled")
    )
    kind = FluxTransformer2DModel if name.startswith("flux") else SD3Transformer2DModel
    model = kind.from_pretrained(os.path.join(folder, name), torch_dtype=dtype).to(device())
    told = {"encoder_hidden_states": context, "pooled_projections": pooled, "return_dict": False}
    if kind is SD3Transformer2DModel:
        time = torch.tensor([float(TIMESTEP)], device=device())
        return model, lambda: model(sample, timestep=time, **told)[0]
    _, channels, height, width = sample.shape
    told |= {
        "txt_ids": torch.zeros(context.shape[1], 3, device=device()),
        "img_ids": FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, device(), torch.float32),
        "guidance": torch.tensor([GUIDANCE], device=device()),
        "timestep": torch.tensor([TIMESTEP / 1000], device=device()),
    }

    def predict():
        packed = FluxPipeline._pack_latents(sample, 1, channels, height, width)
        return FluxPipeline._unpack_latents(model(packed, **told)[0], 8 * height, 8 * width, 8)

    return model, predict


serve(make)
