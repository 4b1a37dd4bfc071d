"""Random weights that behave: no overflow in fp16, text that counts.

Every activation is of order one, and the output depends on the text.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from engine.models.specs import Shape
from recipes.micro_base.weights import uniform

# Standard deviation of a weight = gain / sqrt(inputs); the first pattern that matches decides.
_GAINS = (
    (r"attn2\.to_[qk]\.weight", 2.0),  # sharp attention: the few words among 77 tokens must be seen
    (r"attn2\.(to_v|to_out\.0)\.weight", 2.0),
    (r"(time_embedding|add_embedding|time_emb_proj).*\.weight", 1.4),
    (r"\bconv_out\.weight", 1.5),  # a normed and gated input: about 0.6 of variance
    (r"\bquant_conv\.weight", 1.0),
    (r"post_quant_conv\.weight", 0.2),  # latents come in at about 1 / 0.18215
    (r"(self_attn|mlp).*\.weight", 1.0),
    (r".*\.weight", 1.0),
)
_MEANS_SCALE = 5.0  # of the autoencoder's means, so that the scaled latents are of order one
_LOG_VARIANCE = -4.0


def tensor(name: str, shape: Shape, seed: int) -> Tensor:
    """One tensor's random values; a function of seed, name and shape alone."""
    if re.search(r"(norm\w*|norm\d)\.weight$", name):
        return torch.ones(shape)
    if name.endswith(".bias"):
        return _bias(name, shape)
    drawn = uniform(name, shape, seed)
    if "embedding.weight" in name and "text_model" in name:
        return drawn * (1.0 if "token" in name else 0.3)
    gain = next(gain for pattern, gain in _GAINS if re.search(pattern, name))
    drawn = drawn * (gain / math.sqrt(math.prod(shape[1:])))
    if re.search(r"\bvae\.quant_conv", name):
        drawn[: shape[0] // 2] *= _MEANS_SCALE
        drawn[shape[0] // 2 :] *= 0.1
    return drawn


def _bias(name: str, shape: Shape) -> Tensor:
    bias = torch.zeros(shape)
    if re.search(r"\bvae\.quant_conv", name):
        bias[shape[0] // 2 :] = _LOG_VARIANCE
    return bias
