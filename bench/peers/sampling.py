import os

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from serve import Case, serve, some

STEPS, GUIDANCE = 20, 5.0


def make(folder):
    inputs = load_file(os.path.join(folder, "inputs.safetensors"))
    unet = UNet2DConditionModel.from_pretrained(os.path.join(folder, "unet")).eval()
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )

    def case(batch):
        context = inputs[f"{batch}/context"]

        @torch.no_grad()
        def sample():
            both = torch.cat([inputs["empty"].expand(batch, -1, -1), context])
            xt = inputs[f"{batch}/latents"]
            scheduler.set_timesteps(STEPS)
            for t in scheduler.timesteps:
                output = unet(torch.cat([xt, xt]), t, encoder_hidden_states=both, return_dict=False)[0]
                uncond, cond = output.chunk(2)
                xt = scheduler.step(uncond + GUIDANCE * (cond - uncond), t, xt, return_dict=False)[0]
            return xt

        return Case(sample, lambda: some(sample()))

    return {f"batch {batch}": case(batch) for batch in (1, 8)}


serve(make)
