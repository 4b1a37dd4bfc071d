"""Names of modules in adapter files, and the layers that they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from engine.errors import UserError


def match(names: Iterable[str], known: Mapping[str, object], where: str = "") -> dict[str, str]:
    """Each file name -> the name in `known` that it means; SDXL names in diffusers' spelling are rewritten.

    Raises UserError for names that `known` lacks, and for two that mean the same.
    """
    found: dict[str, str] = {}
    strangers: list[str] = []
    for name in names:
        other = sdxl_name(name)
        if name in known:
            found[name] = name
        elif other in known:
            found[name] = other
        else:
            strangers.append(name)
    if strangers:
        raise UserError(
            f"{len(strangers)} of {len(found) + len(strangers)} modules of the file have no place here, such as `{strangers[0]}`",
            "is it for another kind of model (SD 1.x, SDXL)? Or has it layers that this run lacks: text encoder, convolutions, preset?",
            where=where,
        )
    if len(set(found.values())) < len(found):
        raise UserError("the file names the same module in two spellings", "remove one of them, or use another file", where=where)
    return found


_ENDS = {
    "conv_in": "input_blocks_0_0",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
    "conv_norm_out": "out_0",
    "conv_out": "out_2",
}
_RESNET = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"lora_unet_(down|up)_blocks_(\d)_(attentions|resnets|downsamplers|upsamplers)_(\d)_(.+)")
_MIDDLE = re.compile(r"lora_unet_mid_block_(attentions|resnets)_(\d)_(.+)")


def sdxl_name(name: str) -> str:
    """An SDXL U-Net module in diffusers' spelling -> in the original layout's, which files use. Any other name is returned as it is.

    >>> sdxl_name("lora_unet_down_blocks_1_attentions_0_proj_in")
    'lora_unet_input_blocks_4_1_proj_in'
    >>> sdxl_name("lora_unet_up_blocks_0_upsamplers_0_conv")
    'lora_unet_output_blocks_2_2_conv'
    """
    if end := _ENDS.get(name.removeprefix("lora_unet_")):
        return f"lora_unet_{end}"
    if middle := _MIDDLE.fullmatch(name):
        kind, j, rest = middle[1], int(middle[2]), middle[3]
        return f"lora_unet_middle_block_{1 if kind == 'attentions' else 2 * j}_{_RESNET.get(rest, rest)}"
    if not (block := _BLOCK.fullmatch(name)):
        return name
    way, i, kind, j, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
    if kind == "downsamplers":
        return f"lora_unet_input_blocks_{3 * i + 3}_0_op"
    if kind == "upsamplers":
        return f"lora_unet_output_blocks_{3 * i + 2}_2_conv"
    number = 3 * i + j + 1 if way == "down" else 3 * i + j
    side = "input" if way == "down" else "output"
    return f"lora_unet_{side}_blocks_{number}_{1 if kind == 'attentions' else 0}_{_RESNET.get(rest, rest)}"
