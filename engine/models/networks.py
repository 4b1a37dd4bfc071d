"""Networks from descriptions, built without memory, filled from a file. The classes are diffusers' and transformers'.

Never asks a hub: every configuration comes from `configs`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.models import configs, keymap, weights
from engine.models.layouts import PartSource
from engine.models.specs import ClipSpec, Spec, UnetSpec, VaeSpec

_LEVEL = "text_model."  # CLIPTextModel lost this level in transformers 5.6; files keep it


def build(spec: Spec) -> nn.Module:
    """The network on the meta device: its names and shapes, no memory."""
    with torch.device("meta"):
        if isinstance(spec, ClipSpec):
            return _clip(spec)
        if isinstance(spec, VaeSpec):
            return _vae(spec)
        return _unet(spec)


def _unet(spec: UnetSpec) -> nn.Module:
    from diffusers import UNet2DConditionModel

    network: nn.Module = UNet2DConditionModel.from_config(configs.unet(spec))
    return network


def _vae(spec: VaeSpec) -> nn.Module:
    from diffusers import AutoencoderKL

    network: nn.Module = AutoencoderKL.from_config(configs.vae(spec))
    return network


def _clip(spec: ClipSpec) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(**configs.clip(spec), attn_implementation="sdpa")  # `text` relies on sdpa's causal flag
    return CLIPTextModelWithProjection(config) if spec.projection else CLIPTextModel(config)


def load(part: PartSource, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
    """A part's network with its weights, frozen and in eval mode. dtype None keeps the file's dtypes."""
    return filled(build(part.spec), weights.read(part, dtype, device))


def filled(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The meta network with these tensors (diffusers' names) as its weights. Strict: raises RuntimeError for a wrong name or shape.

    A text encoder's `logit_scale`, which no network uses, stays with it as a plain attribute, so that saving can write it again.
    """
    named = dict(tensors)
    logit_scale = named.pop(keymap.LOGIT_SCALE, None)
    network.load_state_dict({_inside(network, name): tensor for name, tensor in named.items()}, strict=True, assign=True)
    device = next(network.parameters()).device
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                module.register_buffer(name, _constant(name, buffer, device), persistent=False)
    if logit_scale is not None:
        setattr(network, keymap.LOGIT_SCALE, LogitScale(logit_scale))
    return network.eval().requires_grad_(False)


class LogitScale:
    """open_clip's temperature, carried along for the file: an attribute that neither moves nor counts as a weight."""

    def __init__(self, value: Tensor) -> None:
        self.value = value.detach().to("cpu")


def _constant(name: str, like: Tensor, device: torch.device) -> Tensor:
    """The one buffer these networks have that no file holds: the positions 0, 1, 2, ..."""
    if name != "position_ids":
        raise RuntimeError(f"the network has a buffer `{name}` that is not known here")
    return torch.arange(like.shape[-1], device=device).expand(like.shape)


def _inside(network: nn.Module, name: str) -> str:
    """A file's name -> the module's."""
    return name[len(_LEVEL) :] if _is_flat(network) and name.startswith(_LEVEL) else name


def _is_flat(network: nn.Module) -> bool:
    return hasattr(network, "embeddings") and hasattr(network, "encoder")


def in_files(network: nn.Module, name: str) -> str:
    """A module's name -> the one that files use: a text encoder's with `text_model.`."""
    return f"{_LEVEL}{name}" if _is_flat(network) else name


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors under the names that files use."""
    named = {in_files(network, name): tensor for name, tensor in network.state_dict().items()}
    carried = getattr(network, keymap.LOGIT_SCALE, None)
    if isinstance(carried, LogitScale):
        named[keymap.LOGIT_SCALE] = carried.value
    return named
