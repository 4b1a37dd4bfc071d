"""Prompts -> conditioning: emphasis, and prompts of any length.

Emphasis is weights on the tokens' states. A long prompt takes as many chunks as it needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from engine.generation.emphasis import emphasis
from engine.generation.prompt import Shot
from engine.models.family import Cond, Family
from engine.models.tokens import LENGTHS, tokenizer

_FAINT = 1e-3  # of the states' size: a mean below it means nothing, and dividing by it would make the states huge

Pieces = tuple[tuple[str, float], ...]


@torch.no_grad()
def encode(family: Family, encoders: Mapping[str, nn.Module], shot: Shot, clip_skip: int | None = None) -> Cond:
    """Negative prompt and prompt as one conditioning of leading dimension 2, on the encoders' device.

    Both get the shortest layout that holds the longer one. A prompt without emphasis takes exactly the path that captions take.
    """
    pieces = [emphasis(shot.negative), emphasis(shot.text)]
    length = _length(pieces)
    device = next(encoders[family.text_parts[0]].parameters()).device
    cond = family.encode_text(encoders, family.tokenize([_plain(part) for part in pieces], length).to(device), clip_skip)
    if all(weight == 1.0 for part in pieces for _, weight in part):
        return cond
    weights = torch.stack([token_weights(part, length) for part in pieces])
    return dataclasses.replace(cond, hidden=weigh(cond.hidden, weights.to(device)))


def overlong(shot: Shot) -> str:
    """What to say of a prompt of which not every token is read; empty where all are."""
    for name, text in (("prompt", shot.text), ("negative prompt", shot.negative)):
        (tokens,) = tokenizer().count([_plain(emphasis(text))])
        if tokens > LENGTHS[-1]:
            return f"the {name} `{text[:40]}...` has {tokens} tokens; those after the first {LENGTHS[-1]} are not read"
    return ""


def token_weights(pieces: Pieces, length: int) -> Tensor:
    """The weight of each position of a prompt's states, float32 [length + 2]; 1 for the start, the end and the padding.

    Position p holds token p, whatever the number of chunks. Where a piece ends is found by counting the tokens of the text up to there; a
    token that spans two pieces goes with the first.
    """
    ends = tokenizer().count([_plain(pieces[: number + 1]) for number in range(len(pieces))])
    weights = torch.ones(length + 2)
    done = 0
    for end, (_, weight) in zip(ends, pieces, strict=True):
        weights[1 + done : 1 + min(end, length)] = weight
        done = max(done, end)
    return weights


def weigh(hidden: Tensor, weights: Tensor) -> Tensor:
    """States [B, N, D] times weights [B, N], then scaled so that each prompt keeps its mean, as AUTOMATIC1111's web UI does."""
    states = hidden.float()
    weighted = states * weights.unsqueeze(-1)
    before, after = states.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
    size = states.square().mean((1, 2), keepdim=True).sqrt()
    telling = (before.abs() > _FAINT * size) & (after.abs() > _FAINT * size)
    return torch.where(telling, weighted * (before / after), weighted).to(hidden.dtype)


def _plain(pieces: Pieces) -> str:
    return "".join(piece for piece, _ in pieces)


def _length(prompts: Sequence[Pieces]) -> int:
    """The shortest layout that holds all; the longest where none does."""
    longest = max(tokenizer().count([_plain(pieces) for pieces in prompts]))
    return next((length for length in LENGTHS if longest <= length), LENGTHS[-1])
