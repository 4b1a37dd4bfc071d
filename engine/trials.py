"""What a card can do, found out by doing it: a product, a block in fp16.

A trial says in one line why something does not work, and nothing where it does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine import cuda_errors
from engine.errors import fault

_CHANNELS, _SIDE, _HEADS = 320, 64, 8  # of the first blocks of SD 1.x at 512 pixels
_NEAR = 0.05  # relative; fp16 rounds at 0.001, and a kernel that is wrong is off by all of it


def card(device: torch.device) -> str:
    """Why nothing can be computed on this card: one product and one sum, read back."""

    def use() -> None:
        ones = torch.ones(64, 64, device=device)
        total = (ones @ ones + ones).sum().item()
        if total != 64 * 64 * 65:
            raise ArithmeticError(f"a sum that is {64 * 64 * 65} came out as {total:.0f}")

    return fault(use)


def fp16(device: torch.device) -> str:
    """Why fp16 cannot be trained in on this device: a block of a U-Net, forward and backward, held against the same in fp32."""

    def use() -> None:
        try:
            ours, exact = (_block(device, dtype) for dtype in (torch.float16, torch.float32))
        except RuntimeError as error:
            if cuda_errors.kind_of(error) is cuda_errors.FULL:
                return  # it says nothing of fp16, and fp32 would take twice the memory
            raise
        broken = [name for name in exact if not _distance(ours[name], exact[name]) <= _NEAR]  # so that NaN is not near
        if broken:
            raise ArithmeticError(f"{', '.join(broken)} of a trial block came out wrong")

    found = fault(use)
    torch.cuda.empty_cache()  # of what only the trial needed
    return found


def _block(device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Group norm, 3 x 3 convolution, linear layers and attention on fixed numbers: the output, and the gradients of all that went in."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=draw) * scale).to(device, dtype).requires_grad_()

    inputs = normal(1, _CHANNELS, _SIDE, _SIDE)
    convolution = normal(_CHANNELS, _CHANNELS, 3, 3, scale=(9 * _CHANNELS) ** -0.5)
    projections = normal(3 * _CHANNELS, _CHANNELS, scale=_CHANNELS**-0.5)
    hidden = inputs + F.conv2d(F.silu(F.group_norm(inputs, 32)), convolution, padding=1)
    tokens = F.avg_pool2d(hidden, 2).flatten(2).transpose(1, 2)
    query, key, value = F.linear(tokens, projections).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value)
    output = tokens + mixed.transpose(1, 2).flatten(2)
    output.backward(torch.randn(output.shape, generator=draw).to(device, dtype))
    found = {"the output": output, "the input's gradient": inputs.grad}
    found |= {"the convolution's gradient": convolution.grad, "the attention's gradient": projections.grad}
    return {name: tensor.detach().float() for name, tensor in found.items() if tensor is not None}


def _distance(ours: Tensor, exact: Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


def answer() -> dict[str, object]:
    """What torch says of itself and of every card, each tried: `doctor` asks it in a process of its own."""
    found: dict[str, object] = {"version": torch.__version__, "cuda_build": torch.version.cuda, "cuda": torch.cuda.is_available()}
    cards = []
    for number in range(torch.cuda.device_count() if found["cuda"] else 0):
        it = torch.cuda.get_device_properties(number)
        why = card(torch.device("cuda", number))
        cards.append({"name": it.name, "capability": [it.major, it.minor], "bytes": it.total_memory, "fault": why})
    return {**found, "cards": cards}
