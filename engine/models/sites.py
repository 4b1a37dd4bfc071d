"""The layers that adapters may change, under kohya's names. Every UI reads these names."""

from __future__ import annotations

from typing import Literal

from torch import nn

from engine.models import keymap, networks
from engine.models.family import Site

Kind = Literal["linear", "conv1x1", "conv3x3"]
_CONVOLUTIONAL = (".resnets.", ".downsamplers.", ".upsamplers.")


def unet_sites(unet: nn.Module, layout: Literal["original", "diffusers"]) -> list[Site]:
    """The U-Net's sites, named after the given layout: SD1's files use diffusers' names, SDXL's the original ones.

    Inside transformers: LierLa's default set. Inside residual blocks, down- and upsamplers: C3Lier's addition. The ends are never adapted.
    """
    names = _original_names(unet) if layout == "original" else {}
    found = []
    for name, module in unet.named_modules():
        inside = ".attentions." in name
        if isinstance(module, nn.Linear | nn.Conv2d) and (inside or any(word in name for word in _CONVOLUTIONAL)):
            found.append(Site(_flat("lora_unet", names.get(name, name)), module, "unet", _kind(name, module), inside))
    return found


def _original_names(unet: nn.Module) -> dict[str, str]:
    """Diffusers module name -> original module name."""
    shapes = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    moves = keymap.to_original("unet", shapes).moves
    return {move.sources[0].rpartition(".")[0]: move.targets[0].rpartition(".")[0] for move in moves}


def encoder_sites(encoder: nn.Module, part: str, prefix: str) -> list[Site]:
    """A text encoder's attention and feed-forward layers, with `text_model_` in the name whatever transformers calls its modules."""
    found = []
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Linear) and (".self_attn." in name or ".mlp." in name):
            found.append(Site(_flat(prefix, networks.in_files(encoder, name)), module, part, "linear", True))
    return found


def _flat(prefix: str, name: str) -> str:
    return f"{prefix}_{name.replace('.', '_')}"


def _kind(name: str, module: nn.Linear | nn.Conv2d) -> Kind:
    if isinstance(module, nn.Linear):
        return "linear"
    if module.kernel_size == (1, 1):
        return "conv1x1"
    if module.kernel_size == (3, 3):
        return "conv3x3"
    raise ValueError(f"{name} is a convolution of size {module.kernel_size}")
