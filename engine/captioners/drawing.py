"""Words of a caption drawn by chance, each picture from its own generator.

Transformers draws for a whole batch from one generator, so a picture's caption would depend on its neighbours. Here it depends on its seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


class Draw(LogitsProcessor):
    """Makes the greedy choice a draw: from the likeliest words whose probabilities sum to `top_p` (Holtzman et al. 2019, arXiv 1904.09751).

    The largest of log p plus Gumbel noise is a draw from p (the Gumbel-max trick). `seeds` has one number for each row of the batch.
    """

    def __init__(self, top_p: float, seeds: Sequence[int]) -> None:
        self._top_p = top_p
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` [rows, words] with unlikely words at minus infinity and noise on the others."""
        kept = nucleus(scores.float(), self._top_p)
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=generator) for generator in self._generators])
        return kept - torch.log(-torch.log(uniform)).to(kept.device)


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """`scores` [rows, words], minus infinity for all but the likeliest words that reach `top_p` together; the likeliest always stays."""
    ordered, order = scores.sort(dim=-1, descending=True)
    shares = ordered.softmax(dim=-1)
    before = shares.cumsum(dim=-1) - shares  # the share of all that are likelier
    ordered = ordered.masked_fill(before >= top_p, float("-inf"))
    return torch.empty_like(ordered).scatter(-1, order, ordered)
