"""Which layers adapters may change, by names and shapes alone.

They are under kohya's names, which every UI reads. Pure; imports no torch: what a run would train is counted before a network is built.
"""

from __future__ import annotations

from engine.models import keymap
from engine.models.family import LayerKind, Place, Spot
from engine.models.layouts import PartRow
from engine.models.specs import Shape, Shapes

_RESIDUAL, _SAMPLERS = ".resnets.", (".downsamplers.", ".upsamplers.")


def spots(row: PartRow, shapes: Shapes) -> list[Spot]:
    """Those of a network with these tensors (diffusers' names), in the tensors' order.

    All layers of a U-Net, its norms and ends among them. Of a text encoder those of attention and feed-forward: image programs have no name
    for its norms.
    """
    if not row.adapter_prefix:
        return []
    renamed = _original_names(shapes) if row.adapter_names == "original" else {}
    found = []
    for tensor, shape in shapes.items():
        module, _, end = tensor.rpartition(".")
        place = _place_in_text(module) if row.is_text else _place(module)
        if end == "weight" and place is not None:
            name = f"{row.adapter_prefix}_{renamed.get(module, module).replace('.', '_')}"
            found.append(Spot(name, row.name, _kind(module, shape), place, shape, module))
    return found


def _original_names(shapes: Shapes) -> dict[str, str]:
    """A U-Net's modules: diffusers' name -> the original layout's."""
    moves = keymap.to_original("unet", shapes).moves
    return {move.sources[0].rpartition(".")[0]: move.targets[0].rpartition(".")[0] for move in moves}


def _place_in_text(module: str) -> Place | None:
    """Where in a text encoder a module sits; None where no adapter may."""
    return "attention" if ".self_attn." in module else "feed_forward" if ".mlp." in module else None


def _place(module: str) -> Place:
    """Where in the U-Net a module sits, by its name in diffusers' layout."""
    if ".attentions." in module:
        return "attention" if ".attn" in module else "feed_forward" if ".ff." in module else "transformer"
    if _RESIDUAL in module:
        return "resnet"
    return "sampler" if any(word in module for word in _SAMPLERS) else "end"


def _kind(module: str, shape: Shape) -> LayerKind:
    """What a module is, by its weight's shape. None of these networks has an embedding at a place that counts."""
    if len(shape) == 1:
        return "norm"
    if len(shape) == 2:
        return "linear"
    if shape[2:] == (1, 1):
        return "conv1x1"
    if shape[2:] == (3, 3):
        return "conv3x3"
    raise ValueError(f"{module} is a convolution of size {shape[2:]}")
