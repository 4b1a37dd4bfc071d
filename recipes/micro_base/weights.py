"""The weights that training starts from, by seed and name alone.

Every tensor is drawn from a generator of its own, seeded by its name, so neither order nor other tensors matter. Values are uniform: torch
makes those from integers, so that every machine makes the same ones, which is not so for the normal distribution's logarithms.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn

from engine import seeds
from engine.models import blueprint, networks
from engine.models.specs import Shape, Spec, UnetSpec, VaeSpec

# What closes a residual branch of the convolutional networks starts at zero, so that at first every block passes on what it gets. Not so in
# the text encoders: there the padding behind a caption, most of the 77 tokens, must carry the caption's words from the first step on.
_CLOSING = re.compile(r"(\bconv2|to_out\.0|ff\.net\.2|\bproj_out|\bconv_out)\.weight$")
_LOOKING = re.compile(r"\.attn2\.to_[qk]\.weight$")  # sharper than usual: a dozen words among 77 tokens must be seen
_TRUNK = re.compile(r"(down|up)samplers\.0\.conv\.weight$")  # at first they average their 3 x 3 cells, channel by channel
_TOKENS = 0.1  # standard deviation of the token and position vectors: small enough for Adam to move them within a few hundred steps
_ANCHOR = 5.0  # a frame channel's constant before its nonlinearity
_LOG_VARIANCE = -6.0  # of the autoencoder's latents at first


def network(spec: Spec, part: str, seed: int) -> nn.Module:
    """The network of one part, filled from the seed, float32."""
    tensors = {name: tensor(f"{part}.{name}", shape, seed) for name, shape in blueprint.tensors(spec).items()}
    if isinstance(spec, VaeSpec):
        _anchor(tensors, "encoder.mid_block.resnets.1")
        _anchor(tensors, f"decoder.up_blocks.{len(spec.widths) - 1}.resnets.{spec.layers}")
    elif isinstance(spec, UnetSpec):
        _anchor(tensors, f"up_blocks.{len(spec.widths) - 1}.resnets.{spec.layers}")
    return networks.filled(networks.build(spec), tensors)


def _anchor(tensors: dict[str, Tensor], block: str) -> None:
    """Let every second channel of a network's last block be a frame: nothing inside, large at the left edge, and negative at the right.

    The group normalisation that follows takes channels in pairs, 64 in 32 groups, and would make every flat picture the same one: of two
    flat channels only the sign of their difference is left. Beside a channel of mean 0 and known deviation the other passes unharmed.
    Zero padding gives the frame: a constant, through a kernel of differences.
    """
    tensors[f"{block}.norm2.weight"][0] = 0.0
    tensors[f"{block}.norm2.bias"][0] = _ANCHOR
    tensors[f"{block}.conv2.weight"][1::2, 0] = torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3)


def tensor(name: str, shape: Shape, seed: int) -> Tensor:
    """One tensor's first values."""
    if re.search(r"norm\w*\.weight$", name):
        return torch.ones(shape)
    if _CLOSING.search(name):
        return torch.zeros(shape)
    if name.endswith(".bias"):
        bias = torch.zeros(shape)
        if re.search(r"\bquant_conv", name):
            bias[shape[0] // 2 :] = _LOG_VARIANCE
        return bias
    if _TRUNK.search(name):
        return torch.eye(shape[0])[:, :, None, None].expand(shape) / math.prod(shape[2:])
    drawn = uniform(name, shape, seed)
    if "embedding.weight" in name and "text_model" in name:
        return drawn * _TOKENS
    return drawn * ((1.5 if _LOOKING.search(name) else 1.0) / math.sqrt(math.prod(shape[1:])))


def uniform(name: str, shape: Shape, seed: int) -> Tensor:
    """Uniform values with standard deviation one, from a generator that name and seed decide."""
    generator = torch.Generator().manual_seed(seeds.derived("micro base", seed, name))
    return (torch.rand(shape, generator=generator) - 0.5) * math.sqrt(12)
