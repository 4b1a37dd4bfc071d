"""Network descriptions <-> diffusers' and transformers' configurations.

Written: the keys that make the network. Read: where a diffusers folder has a configuration it decides what shapes cannot tell (heads,
activation, scale); what shapes do tell must agree with it, and an option that we do not build must be off.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from engine.errors import UserError
from engine.models.specs import Activation, ClipSpec, Json, Spec, UnetSpec, VaeSpec

_UNET_FIXED: Json = {
    "center_input_sample": False, "flip_sin_to_cos": True, "freq_shift": 0, "mid_block_type": "UNetMidBlock2DCrossAttn",
    "downsample_padding": 1, "mid_block_scale_factor": 1, "dropout": 0.0, "act_fn": "silu", "norm_num_groups": 32, "norm_eps": 1e-05,
    "resnet_time_scale_shift": "default", "resnet_out_scale_factor": 1.0, "time_embedding_type": "positional", "conv_in_kernel": 3,
    "conv_out_kernel": 3, "attention_type": "default",
}  # fmt: skip
_VAE_FIXED: Json = {
    "act_fn": "silu", "norm_num_groups": 32, "use_quant_conv": True, "use_post_quant_conv": True, "mid_block_add_attention": True,
}  # fmt: skip
_CLIP_FIXED: Json = {"layer_norm_eps": 1e-05, "model_type": "clip_text_model", "attention_dropout": 0.0}
_NEUTRAL = {  # keys that change nothing in the network, or only another key's absence
    "sample_size", "addition_embed_type_num_heads", "force_upcast", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_factor",
    "initializer_range", "transformers_version", "architectures", "torch_dtype", "dtype", "dropout", "id2label", "label2id", "return_dict",
    "chunk_size_feed_forward", "problem_type", "max_length", "min_length", "num_beams", "temperature", "top_k", "top_p",
    "repetition_penalty", "length_penalty", "num_return_sequences", "typical_p", "diversity_penalty", "num_beam_groups",
    "encoder_no_repeat_ngram_size", "no_repeat_ngram_size", "tie_word_embeddings", "projection_dim",
}  # fmt: skip


def unet(spec: UnetSpec) -> Json:
    """The U-Net's configuration, as `UNet2DConditionModel` takes it."""
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in spec.depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(spec.depths)]
    depths = [max(depth, 1) for depth in spec.depths[:-1]] + [spec.mid_depth]
    config: Json = {
        **_UNET_FIXED,
        "sample_size": 128 if spec.label_width else 64,
        "in_channels": spec.in_channels,
        "out_channels": spec.out_channels,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": list(spec.widths),
        "layers_per_block": spec.layers,
        "cross_attention_dim": spec.context,
        "transformer_layers_per_block": depths[0] if len(set(depths)) == 1 else depths,
        "attention_head_dim": spec.heads[0] if len(set(spec.heads)) == 1 else list(spec.heads),  # diffusers' name for the number of heads
        "use_linear_projection": spec.linear_projection,
    }
    if spec.label_width:
        config["addition_embed_type"] = "text_time"
        config["addition_time_embed_dim"] = spec.size_width
        config["projection_class_embeddings_input_dim"] = spec.label_width
    return config


def vae(spec: VaeSpec) -> Json:
    """The autoencoder's configuration, as `AutoencoderKL` takes it."""
    return {
        **_VAE_FIXED,
        "in_channels": spec.in_channels,
        "out_channels": spec.in_channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(spec.widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(spec.widths),
        "block_out_channels": list(spec.widths),
        "layers_per_block": spec.layers,
        "latent_channels": spec.latent_channels,
        "scaling_factor": spec.scale,
    }


def clip(spec: ClipSpec) -> Json:
    """The text encoder's configuration, as `CLIPTextConfig` takes it, with the tokens' true ids."""
    return {
        **_CLIP_FIXED,
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "intermediate_size": spec.mlp,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "max_position_embeddings": spec.positions,
        "hidden_act": spec.activation,
        "projection_dim": spec.projection or spec.width,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
    }


def config_of(spec: Spec) -> Json:
    """The configuration of any network."""
    if isinstance(spec, UnetSpec):
        return unet(spec)
    return vae(spec) if isinstance(spec, VaeSpec) else clip(spec)


def decided(spec: Spec, config: Json, where: Path) -> Spec:
    """The description found from shapes, corrected by the folder's configuration where shapes cannot tell.

    Raises UserError where the two disagree, or where the configuration turns on something that is not built here.
    """
    if isinstance(spec, UnetSpec):
        chosen: Spec = replace(spec, heads=_heads(config, spec, where))
    elif isinstance(spec, VaeSpec):
        chosen = replace(spec, scale=_number(config, "scaling_factor", 0.18215, where))  # diffusers' default
    else:
        activation = config.get("hidden_act", "quick_gelu")
        if activation not in get_args(Activation):
            raise _unsupported("hidden_act", activation, where)
        heads = int(_number(config, "num_attention_heads", 8, where))
        if heads < 1 or spec.width % heads:
            raise UserError(
                f"`num_attention_heads` = {heads} cannot share a width of {spec.width}", "mend the configuration", where=str(where)
            )
        chosen = replace(spec, heads=heads, activation="gelu" if activation == "gelu" else "quick_gelu")
    _compare(config, config_of(chosen), where)
    return chosen


def _heads(config: Json, spec: UnetSpec, where: Path) -> tuple[int, ...]:
    """`num_attention_heads` if set, else `attention_head_dim`, which diffusers reads as the number of heads."""
    value = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
    listed = value if isinstance(value, list) else [value] * len(spec.widths)
    heads = tuple(head for head in listed if isinstance(head, int) and head > 0)
    if len(heads) != len(spec.widths) or any(width % head for width, head in zip(spec.widths, heads, strict=True)):
        raise UserError(
            f"`attention_head_dim` = {value} does not divide the levels' widths {list(spec.widths)}",
            "mend the configuration",
            where=str(where),
        )
    return heads


def _number(config: Json, key: str, default: float, where: Path) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"`{key}` = {value!r} is not a number", "mend the configuration", where=str(where))
    return value


def _compare(config: Json, expected: Json, where: Path) -> None:
    """Every key that both have must agree; a key that we do not know must be off."""
    for key, value in config.items():
        if key.startswith("_") or key in _NEUTRAL or key == "num_attention_heads" or (not value and not expected.get(key)):
            continue
        if key not in expected:
            raise _unsupported(key, value, where)
        if _plain(value) != _plain(expected[key]):
            raise UserError(
                f"`{key}` = {value} in the configuration, but the tensors (or what is supported here) say {expected[key]}",
                "the folder's files do not belong together, or it is a variant that is not supported: download the folder again",
                where=str(where),
            )


def _plain(value: object) -> object:
    """A list whose members are all equal means the same as its one value."""
    if isinstance(value, list | tuple):
        return _plain(value[0]) if value and all(item == value[0] for item in value) and not isinstance(value[0], str) else list(value)
    return value


def _unsupported(key: str, value: object, where: Path) -> UserError:
    return UserError(f"`{key}` = {value!r} is a variant of the network that is not supported", "use a model without it", where=str(where))
