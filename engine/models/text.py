"""Running CLIP text encoders: chunks, choice of layer, pooled output. A long caption is several chunks.

Ids arrive flat, as `tokens` lays them out; here they become passes of 77 (start, 75 tokens, end) and the states are joined again. Layers beyond the wanted one are not run.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.models.tokens import CHUNK, END

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection


def passes(ids: Tensor, pad: int) -> Tensor:
    """Flat ids [B, 75n + 2] -> one row of 77 for each pass of the encoder [B, n, 77].

    Every pass starts with the start token and ends with the last id. Where `pad` is not the end token (SDXL's second encoder), a pass that
    is full of text ends with the end token, and one without text has it first.
    """
    count = (ids.shape[1] - 2) // CHUNK
    if count == 1:
        return ids[:, None]
    body = ids[:, 1:-1].unflatten(1, (count, CHUNK))
    first = ids[:, :1].expand(-1, count)[..., None]
    last = ids[:, -1:].expand(-1, count)[..., None]
    rows = torch.cat([first, body, last], dim=2)
    if pad != END:
        full = (rows[..., -2] != END) & (rows[..., -2] != pad)
        rows[..., -1] = rows[..., -1].masked_fill(full, END)
        rows[..., 1] = rows[..., 1].masked_fill(rows[..., 1] == pad, END)
    return rows


def joined(states: Tensor) -> Tensor:
    """States of the passes [B, n, 77, D] -> [B, 75n + 2, D]: the first start, every pass's text, the last end."""
    return torch.cat([states[:, 0, :1], states[:, :, 1:-1].flatten(1, 2), states[:, -1, -1:]], dim=1)


def final(encoder: nn.Module, ids: Tensor, clip_skip: int | None) -> Tensor:
    """SD1's conditioning: the states `clip_skip` layers from the end (None, 1 = the last), through the final norm.

    ids [B, N] -> [B, N, D].
    """
    trunk = _trunk(encoder)
    rows = passes(ids.to(_device(trunk)), END)
    states = trunk.final_layer_norm(_run(trunk, rows.flatten(0, 1), _layers(trunk, clip_skip)))
    return joined(states.unflatten(0, rows.shape[:2]))


def penultimate(encoder: nn.Module, ids: Tensor) -> Tensor:
    """SDXL's first encoder: the states before the last layer, without a norm. ids [B, N] -> [B, N, D]."""
    trunk = _trunk(encoder)
    rows = passes(ids.to(_device(trunk)), END)
    return joined(_run(trunk, rows.flatten(0, 1), len(trunk.encoder.layers) - 1).unflatten(0, rows.shape[:2]))


def penultimate_and_pooled(encoder: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """SDXL's second encoder: the states before the last layer [B, N, D], and the pooled output [B, P].

    The pooled output is the last layer's normed state at the first pass's end token, projected; the end token is found by its id.
    """
    model = cast("CLIPTextModelWithProjection", encoder)
    trunk = _trunk(encoder)
    rows = passes(ids.to(_device(trunk)), 0)
    states = _run(trunk, rows.flatten(0, 1), len(trunk.encoder.layers) - 1).unflatten(0, rows.shape[:2])
    last = trunk.final_layer_norm(trunk.encoder.layers[-1](states[:, 0], None, is_causal=True))
    end = (rows[:, 0] == END).int().argmax(dim=-1)
    pooled = model.text_projection(last[torch.arange(len(end), device=end.device), end])
    return joined(states), pooled


def _run(trunk: CLIPTextModel, ids: Tensor, layers: int) -> Tensor:
    """The states after that many layers. ids [M, 77] -> [M, 77, D]."""
    states: Tensor = trunk.embeddings(input_ids=ids)
    for layer in islice(trunk.encoder.layers, layers):
        states = layer(states, None, is_causal=True)  # causal without a mask, as transformers itself calls sdpa
    return states


def _layers(trunk: CLIPTextModel, clip_skip: int | None) -> int:
    """How many layers to run. Raises UserError for a clip_skip that the encoder does not have."""
    total = len(trunk.encoder.layers)
    skip = 1 if clip_skip is None else clip_skip
    if not 1 <= skip <= total:
        raise UserError(f"clip_skip {skip} is outside 1 to {total}, the text encoder's layers", "choose 1 or 2", where="clip_skip")
    return total - skip + 1


def _trunk(encoder: nn.Module) -> CLIPTextModel:
    """The transformer itself: a level below in the model with a projection."""
    return cast("CLIPTextModel", getattr(encoder, "text_model", encoder))


def _device(trunk: CLIPTextModel) -> torch.device:
    weight: Tensor = trunk.final_layer_norm.weight
    return weight.device
