"""Small programs on the pretended card, which show that it refuses what a card refuses and that reads are counted."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.counts import Count

Operation = Callable[[Tensor, Tensor], object]  # of an activation [2, 4, 4] and a factor of it [2, 4, 4]


def _layer_backward(x: Tensor, grad: Tensor) -> object:
    mean, spread = torch.zeros(2, 4, 1, device=x.device), torch.ones(2, 4, 1, device=x.device)
    return torch.ops.aten.native_layer_norm_backward(grad, x, [4], mean, spread, None, None, [True, False, False])


def _group_backward(x: Tensor, grad: Tensor) -> object:
    mean, spread = torch.zeros(2, 2, device=x.device), torch.ones(2, 2, device=x.device)
    return torch.ops.aten.native_group_norm_backward(grad, x, mean, spread, None, 2, 4, 4, 2, [True, False, False])


def _convolution_backward(x: Tensor, other: Tensor) -> object:
    return torch.ops.aten.convolution_backward(
        x, x, other[:1].transpose(0, 1).expand(4, 4, 4)[..., :1], None, [1], [0], [1], False, [0], 1, [True, True, False]
    )


OPERATIONS: dict[str, Operation] = {
    "native_group_norm": lambda x, other: F.group_norm(x, 2, other[0, 0]),
    "native_layer_norm": lambda x, other: F.layer_norm(x, (4,), other[0, 0]),
    "native_group_norm_backward": _group_backward,
    "native_layer_norm_backward": _layer_backward,
    "convolution": lambda x, other: F.conv1d(x, other[:1].expand(4, 4, 4)[..., :1]),
    "convolution_backward": _convolution_backward,
    "mm": lambda x, other: x[0] @ other[0],
    "bmm": lambda x, other: x @ other,
    "addmm": lambda x, other: torch.addmm(x[0], x[0], other[0]),
    "baddbmm": lambda x, other: torch.baddbmm(x, x, other),
    "_scaled_dot_product_flash_attention_for_cpu": lambda x, other: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        x[None], other[None], x[None]
    ),
}


def refusals() -> dict[str, object]:
    """What is said of each operation where its tensors are alike, where formats differ, and where devices differ."""
    from tests.cuda import pretended

    here = torch.ones(2, 4, 4, device="cuda")
    others = {"alike": here.clone(), "format": here.bfloat16(), "device": torch.ones(2, 4, 4)}
    said = {name: {kind: _said(operation, here, other) for kind, other in others.items()} for name, operation in OPERATIONS.items()}
    return {"said": said, "one_format": list(pretended._ONE_FORMAT)}


def _said(operation: Operation, here: Tensor, other: Tensor) -> str:
    from tests.cuda.pretended import Mismatch

    try:
        operation(here, other)
    except Mismatch as error:
        return str(error)
    return ""


def reads() -> dict[str, dict[str, int]]:
    """What the ledger and `Count` say of the same reads."""
    from tests.cuda import pretended

    before = pretended.LEDGER.reads.copy()
    with Count() as count:
        values = torch.ones(3, device="cuda", requires_grad=True)
        total = (values * values).sum()
        total.backward()
        total.item()
        values.detach().nonzero()
        values.detach().cpu()
    found = {"ledger": pretended.LEDGER.reads - before, "count": count.places}
    return {name: {f"{operation} at {at}": number for (operation, at), number in sorted(places.items())} for name, places in found.items()}
