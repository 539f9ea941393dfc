"""What the variants of the fixtures look like: each is unlike the others in every size that the files may name.

`unet`, `vae` and `text` hold what differs from the defaults of diffusers and transformers; `latents` is [height, width].
`sampled` is how many of a batch's prompts the trajectories have, by default all: those are the largest files.
Sizes with one entry a level cover the forms that a config may have: one number for all levels, or a list.
"""

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"

PROMPTS = [
    "a photo of an astronaut riding a horse",
    "two cats, oil painting, 4k",
    "a beautiful lake at dawn",
    "pixel art of a red dragon!",
    "Ünïcödé façade, ΟΔΟΣ, 日本 — “quoted” 3.14",
]


def unet_blocks(attention: list[bool], up_attention: list[bool] | None = None) -> dict:
    """Block types by level, from the outermost; the way up mirrors the way down unless it is given."""
    up = up_attention if up_attention is not None else attention
    return {
        "down_block_types": [CROSS_DOWN if here else DOWN for here in attention],
        "up_block_types": [CROSS_UP if here else UP for here in reversed(up)],
    }


VARIANTS: dict[str, dict] = {
    # As small as it goes, for the repository's own tests: uneven strides of time, a batch of three, an SPM without prefix and with its own
    # means, a VAE of three levels beside one of two, latents that are not square.
    "small": {
        "further": True,
        "sd15": {
            "unet": dict(block_out_channels=[4, 8], layers_per_block=1, attention_head_dim=2, norm_num_groups=2,
                         cross_attention_dim=8, **unet_blocks([True, False])),
            "vae": dict(block_out_channels=[4, 4, 8], layers_per_block=1, norm_num_groups=2, scaling_factor=0.2),
            "text": dict(hidden_size=8, num_attention_heads=2, num_hidden_layers=2, intermediate_size=12, hidden_act="quick_gelu",
                         projection_dim=8),
            "latents": [4, 6],
        },
        "sdxl": {
            "unet": dict(block_out_channels=[4, 8], layers_per_block=1, attention_head_dim=[1, 2], norm_num_groups=4,
                         transformer_layers_per_block=[1, 2], use_linear_projection=True, addition_time_embed_dim=2,
                         **unet_blocks([False, True])),
            "vae": dict(block_out_channels=[4, 8], layers_per_block=1, norm_num_groups=4, scaling_factor=0.13025),
            "text": dict(hidden_size=6, num_attention_heads=3, num_hidden_layers=2, intermediate_size=10, hidden_act="quick_gelu"),
            "text_2": dict(hidden_size=8, num_attention_heads=2, num_hidden_layers=3, intermediate_size=12, hidden_act="gelu",
                           projection_dim=10),
            "latents": [6, 4],
        },
        "spm": {
            "projection_dim": 6, "logit_scale": 2.3, "time": dict(frequency_embedding_size=32, max_period=10000), "prefix": "",
            "mean": [0.5, 0.4, 0.6], "std": [0.25, 0.3, 0.2],
            "text": dict(hidden_size=8, intermediate_size=12, num_attention_heads=2, num_hidden_layers=1, hidden_act="quick_gelu"),
            "vision": dict(hidden_size=12, intermediate_size=20, num_attention_heads=3, num_hidden_layers=2, image_size=15,
                           patch_size=5, hidden_act="gelu"),
        },
        "settings": dict(steps={"ddim": 30, "euler": 11, "dpmpp": 9, "pndm": 8}, guidance=4.0, negative="blurry",
                         batch=3, sampled=1, timesteps=[1, 366, 962], rank=2, beta=1500.0, spo=dict(beta=4.0, clip=0.15, steps=25, guidance=4.0),
                         rollout={"sd15": dict(k=3, steps=7, d=1, inner=1), "sdxl": dict(k=2, steps=6, d=0, inner=3)}),
    },
    # Two levels, attention at the inner one only, a VAE that halves once, wide latents, activations swapped.
    "flat": {
        "sd15": {
            "unet": dict(block_out_channels=[12, 24], layers_per_block=1, attention_head_dim=3, norm_num_groups=6,
                         cross_attention_dim=20, use_linear_projection=True, **unet_blocks([False, True])),
            "vae": dict(block_out_channels=[8, 12], layers_per_block=2, norm_num_groups=2, mid_block_add_attention=False,
                        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3),
            "text": dict(hidden_size=20, num_attention_heads=5, num_hidden_layers=3, intermediate_size=36, hidden_act="gelu",
                         eos_token_id="end", projection_dim=20, prefix=False),
            "latents": [6, 11],
        },
        "sdxl": {
            "unet": dict(block_out_channels=[8, 24], layers_per_block=2, attention_head_dim=[1, 4], norm_num_groups=4,
                         transformer_layers_per_block=[1, 3], use_linear_projection=True, addition_time_embed_dim=6,
                         **unet_blocks([False, True])),
            "vae": dict(block_out_channels=[6, 12], layers_per_block=1, norm_num_groups=3, scaling_factor=0.25, force_upcast=False),
            "text": dict(hidden_size=8, num_attention_heads=2, num_hidden_layers=3, intermediate_size=24, hidden_act="gelu"),
            "text_2": dict(hidden_size=12, num_attention_heads=3, num_hidden_layers=2, intermediate_size=40, hidden_act="quick_gelu",
                           projection_dim=16, eos_token_id="end"),
            "latents": [9, 6],
        },
        "spm": {
            "projection_dim": 10, "logit_scale": 2.9, "time": dict(frequency_embedding_size=256, max_period=10000),
            "text": dict(hidden_size=12, intermediate_size=30, num_attention_heads=3, num_hidden_layers=3, hidden_act="quick_gelu"),
            "vision": dict(hidden_size=24, intermediate_size=40, num_attention_heads=3, num_hidden_layers=3, image_size=24,
                           patch_size=8, hidden_act="quick_gelu"),
        },
        "settings": dict(steps={"ddim": 25, "euler": 12, "dpmpp": 16, "pndm": 10}, guidance=7.5, negative="watermark",
                         batch=3, timesteps=[0, 250, 999], rank=3, beta=2500.0, spo=dict(beta=5.0, clip=0.2, steps=10, guidance=7.5),
                         rollout={"sd15": dict(k=6, steps=7, d=3, inner=0), "sdxl": dict(k=3, steps=9, d=2, inner=3)}),
    },
    # Four levels with attention in the outer three as in SD1.5, odd latents, heads as a list.
    "deep": {
        "sd15": {
            "unet": dict(block_out_channels=[8, 16, 24, 32], layers_per_block=2, attention_head_dim=[1, 2, 3, 4], norm_num_groups=8,
                         cross_attention_dim=32, **unet_blocks([True, True, True, False])),
            "vae": dict(block_out_channels=[8, 8, 16, 16], layers_per_block=2, norm_num_groups=8),
            "text": dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=4, intermediate_size=128, hidden_act="quick_gelu",
                         projection_dim=32),
            "latents": [9, 13],
        },
        "sdxl": {
            "unet": dict(block_out_channels=[16, 32, 64], layers_per_block=2, attention_head_dim=[2, 4, 8], norm_num_groups=16,
                         transformer_layers_per_block=[1, 2, 3], use_linear_projection=True, addition_time_embed_dim=16,
                         **unet_blocks([False, True, True])),
            "vae": dict(block_out_channels=[8, 16, 16, 16], layers_per_block=1, norm_num_groups=4, scaling_factor=0.13025),
            "text": dict(hidden_size=24, num_attention_heads=3, num_hidden_layers=4, intermediate_size=96, hidden_act="quick_gelu"),
            "text_2": dict(hidden_size=40, num_attention_heads=5, num_hidden_layers=5, intermediate_size=80, hidden_act="gelu",
                           projection_dim=48),
            "latents": [8, 8],
        },
        "spm": {
            "projection_dim": 32, "logit_scale": 3.5, "time": dict(frequency_embedding_size=256, max_period=10000),
            "text": dict(hidden_size=24, intermediate_size=48, num_attention_heads=4, num_hidden_layers=2, hidden_act="gelu"),
            "vision": dict(hidden_size=40, intermediate_size=96, num_attention_heads=5, num_hidden_layers=4, image_size=42,
                           patch_size=6, hidden_act="gelu"),
        },
        "settings": dict(steps={"ddim": 50, "euler": 30, "dpmpp": 20, "pndm": 15}, guidance=3.0, negative="blurry, low quality",
                         batch=2, timesteps=[21, 481, 961], rank=8, beta=5000.0, spo=dict(beta=10.0, clip=0.1, steps=40, guidance=3.0),
                         rollout={"sd15": dict(k=3, steps=10, d=0, inner=0), "sdxl": dict(k=5, steps=7, d=1, inner=1)}),
    },
    # Lists where a config may have one, three layers a level, attention at the way down and up set apart.
    "lists": {
        "sd15": {
            "unet": dict(block_out_channels=[16, 16, 32], layers_per_block=[1, 2, 3], attention_head_dim=[2, 4, 8],
                         norm_num_groups=4, cross_attention_dim=[16, 16, 16], transformer_layers_per_block=2,
                         **unet_blocks([False, False, True], [True, False, True])),
            "vae": dict(block_out_channels=[4, 8, 12], layers_per_block=3, norm_num_groups=1, use_quant_conv=False),
            "text": dict(hidden_size=16, num_attention_heads=1, num_hidden_layers=1, intermediate_size=16, hidden_act="gelu",
                         projection_dim=16, eos_token_id="end"),
            "latents": [12, 8],
        },
        "sdxl": {
            "unet": dict(block_out_channels=[12, 24, 36, 48], layers_per_block=[3, 1, 2, 1], attention_head_dim=[1, 2, 3, 4],
                         norm_num_groups=12, transformer_layers_per_block=[1, 1, 2, 2], use_linear_projection=False,
                         addition_time_embed_dim=4, **unet_blocks([False, True, False, True])),
            "vae": dict(block_out_channels=[8, 16, 24], layers_per_block=2, norm_num_groups=8, use_post_quant_conv=False),
            "text": dict(hidden_size=12, num_attention_heads=4, num_hidden_layers=2, intermediate_size=20, hidden_act="quick_gelu",
                         prefix=False),
            "text_2": dict(hidden_size=20, num_attention_heads=2, num_hidden_layers=4, intermediate_size=64, hidden_act="gelu",
                           projection_dim=8),
            "latents": [7, 10],
        },
        "spm": {
            "projection_dim": 16, "logit_scale": 3.1, "time": dict(frequency_embedding_size=256, max_period=10000),
            "text": dict(hidden_size=16, intermediate_size=64, num_attention_heads=1, num_hidden_layers=1, hidden_act="gelu"),
            "vision": dict(hidden_size=16, intermediate_size=64, num_attention_heads=2, num_hidden_layers=1, image_size=20,
                           patch_size=5, hidden_act="quick_gelu"),
        },
        "settings": dict(steps={"ddim": 13, "euler": 7, "dpmpp": 9, "pndm": 33}, guidance=9.0, negative="", batch=1,
                         timesteps=[7, 333, 777], rank=1, beta=1000.0, spo=dict(beta=2.0, clip=0.05, steps=20, guidance=5.0),
                         rollout={"sd15": dict(k=2, steps=12, d=5, inner=2), "sdxl": dict(k=4, steps=5, d=4, inner=0)}),
    },
    # Fields that published configs leave at their defaults, η below 1, no guidance, and a schedule that ends at ᾱ = 1 (which SPO's steps
    # do not).
    "options": {
        "sd15": {
            "unet": dict(block_out_channels=[8, 8, 16], layers_per_block=1, attention_head_dim=[2, 1, 4], norm_num_groups=4, cross_attention_dim=12,
                         norm_eps=1e-3, flip_sin_to_cos=False, freq_shift=1, upcast_attention=True, mid_block_type="UNetMidBlock2DCrossAttn",
                         transformer_layers_per_block=[1, 2, 1], **unet_blocks([True, True, True])),
            "vae": dict(block_out_channels=[8, 8, 8, 8], layers_per_block=1, norm_num_groups=8, latent_channels=8, scaling_factor=1.5),
            "text": dict(hidden_size=12, num_attention_heads=3, num_hidden_layers=2, intermediate_size=7, hidden_act="gelu", layer_norm_eps=1e-3,
                         eos_token_id="end", projection_dim=12),
            "latents": [5, 5],
            "scheduler": dict(set_alpha_to_one=True, timestep_spacing="leading"),
        },
        "sdxl": {
            "unet": dict(block_out_channels=[8, 16], layers_per_block=2, attention_head_dim=2, norm_num_groups=8, transformer_layers_per_block=2,
                         use_linear_projection=False, addition_time_embed_dim=4, norm_eps=1e-6, freq_shift=1, **unet_blocks([True, True])),
            "vae": dict(block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=8, latent_channels=3, scaling_factor=0.7,
                        force_upcast=True, sample_size=16),
            "text": dict(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, intermediate_size=9, hidden_act="quick_gelu", layer_norm_eps=1e-6),
            "text_2": dict(hidden_size=8, num_attention_heads=4, num_hidden_layers=1, intermediate_size=16, hidden_act="quick_gelu", projection_dim=8),
            "latents": [5, 7],
            "scheduler": dict(set_alpha_to_one=True),
        },
        "spm": {
            "projection_dim": 5, "logit_scale": 3.3, "time": dict(frequency_embedding_size=64, max_period=1000),
            "text": dict(hidden_size=8, intermediate_size=9, num_attention_heads=2, num_hidden_layers=2, hidden_act="gelu"),
            "vision": dict(hidden_size=8, intermediate_size=9, num_attention_heads=1, num_hidden_layers=1, image_size=17, patch_size=5,
                           hidden_act="gelu"),
        },
        "settings": dict(steps={"ddim": 9, "euler": 3, "dpmpp": 3, "pndm": 4}, guidance=1.0, negative="a", batch=2, timesteps=[0, 1, 2], rank=5,
                         beta=1.0, spo=dict(beta=0.5, clip=0.02, steps=7, guidance=1.0, eta=0.6),
                         rollout={"sd15": dict(k=2, steps=4, d=2, inner=0, eta=0.5), "sdxl": dict(k=3, steps=6, d=1, inner=4, eta=0.8)}),
    },
}
