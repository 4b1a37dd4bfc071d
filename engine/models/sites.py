"""The layers that adapters may change, under kohya's names. Every UI reads these names."""

from __future__ import annotations

from typing import Literal

from torch import nn

from engine.models import keymap, networks
from engine.models.family import LayerKind, Place, Site

_RESIDUAL, _SAMPLERS = ".resnets.", (".downsamplers.", ".upsamplers.")


def unet_sites(unet: nn.Module, layout: Literal["original", "diffusers"]) -> list[Site]:
    """The U-Net's sites, named after the given layout: SD1's files use diffusers' names, SDXL's the original ones."""
    names = _original_names(unet) if layout == "original" else {}
    found = []
    for name, module in unet.named_modules():
        kind = _kind(name, module)
        if kind is not None:
            found.append(Site(_flat("lora_unet", names.get(name, name)), module, "unet", kind, _place(name)))
    return found


def _original_names(unet: nn.Module) -> dict[str, str]:
    """Diffusers module name -> original module name."""
    shapes = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    moves = keymap.to_original("unet", shapes).moves
    return {move.sources[0].rpartition(".")[0]: move.targets[0].rpartition(".")[0] for move in moves}


def encoder_sites(encoder: nn.Module, part: str, prefix: str) -> list[Site]:
    """A text encoder's attention and feed-forward layers, with `text_model_` in the name whatever transformers calls its modules.

    Its norms are left out: image programs have no name for them.
    """
    found = []
    for name, module in encoder.named_modules():
        place: Place | None = "attention" if ".self_attn." in name else "feed_forward" if ".mlp." in name else None
        if isinstance(module, nn.Linear) and place is not None:
            found.append(Site(_flat(prefix, networks.in_files(encoder, name)), module, part, "linear", place))
    return found


def _flat(prefix: str, name: str) -> str:
    return f"{prefix}_{name.replace('.', '_')}"


def _place(name: str) -> Place:
    """Where in the U-Net a module sits, by its name in diffusers' layout."""
    if ".attentions." in name:
        return "attention" if ".attn" in name else "feed_forward" if ".ff." in name else "transformer"
    if _RESIDUAL in name:
        return "resnet"
    return "sampler" if any(word in name for word in _SAMPLERS) else "end"


def _kind(name: str, module: nn.Module) -> LayerKind | None:
    """What a module is; None for one without weights of its own."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        return "norm"
    if not isinstance(module, nn.Conv2d):
        return None
    if module.kernel_size == (1, 1):
        return "conv1x1"
    if module.kernel_size == (3, 3):
        return "conv3x3"
    raise ValueError(f"{name} is a convolution of size {module.kernel_size}")
