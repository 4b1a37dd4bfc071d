"""The layers of a network that adapters may change: spots with modules."""

from __future__ import annotations

from torch import nn

from engine.models import networks
from engine.models.family import Site
from engine.models.layouts import PartRow
from engine.models.spots import spots


def sites(row: PartRow, network: nn.Module) -> list[Site]:
    """The network's sites in the order of its modules, whatever transformers calls a text encoder's."""
    found = {spot.module: spot for spot in spots(row, {name: tuple(tensor.shape) for name, tensor in networks.tensors(network).items()})}
    named = ((networks.in_files(network, name), module) for name, module in network.named_modules())
    return [Site(**vars(found[name]), layer=module) for name, module in named if name in found]
