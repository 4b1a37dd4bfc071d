"""A change of a layer's size, applied beside it as one autograd node.

The change is formed in float32 and cast once, and it is never added to a weight of half precision, where most of a small one would be
rounded to nothing. The node keeps the input and the parameters alone: it forms the change again in the backward pass. Kept for every
layer, changes and what they are made of would take several times the memory of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

if TYPE_CHECKING:
    from engine.adapters.layers import Layer


class _Context(FunctionCtx):
    """What one call keeps for its backward pass."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    layer: Layer
    strength: float


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, x: Tensor, layer: Layer, rows: Tensor, *parameters: Tensor) -> Tensor:
        """x: what the layer gets. rows: factors [out] of the change's rows, or empty. Returns the change's own output, in x's dtype."""
        weight, bias = _change(layer, layer.strength, rows)
        ctx.save_for_backward(x, rows, *parameters)
        ctx.layer, ctx.strength = layer, layer.strength
        return _product(layer.site.layer, x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, in its dtype, and of the layer's parameters, float32."""
        x, rows, *_ = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False), torch.enable_grad():
            weight, bias = _change(ctx.layer, ctx.strength, rows)
            outputs = [weight] if bias is None else [weight, bias]
            cast = [output.detach().to(x.dtype) for output in outputs]
            x_grad, *gradients = _gradients(ctx.layer.site.layer, x, cast, grad, ctx.needs_input_grad[0])
            wanted = [gradient.float() for gradient in gradients if gradient is not None]
            trained = [parameter for parameter in ctx.layer.parameters() if parameter.requires_grad]
            found = iter(torch.autograd.grad(outputs, trained, wanted) if trained else ())
        return x_grad, None, None, *(next(found) if parameter.requires_grad else None for parameter in ctx.layer.parameters())


def applied(layer: Layer, x: Tensor, rows: Tensor | None) -> Tensor:
    """What the change of `layer` adds to its output for x; `rows` are factors of the change's rows [out].

    Under autocast it is computed in autocast's dtype, as the layer itself is.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        result: Tensor = _Node.apply(x, layer, x.new_empty(0) if rows is None else rows, *layer.parameters())
    return result


def _change(layer: Layer, strength: float, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """The change of weight and bias, float32, with the rows that are left out."""
    weight, bias = layer.change(strength)
    if rows.numel():
        weight = weight * rows.view(-1, *(1,) * (weight.dim() - 1))
        bias = None if bias is None else bias * rows
    return weight, bias


def _product(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `layer` would give with this weight and bias instead of its own: linear in both."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, nn.Conv2d):
        return layer._conv_forward(x, weight, bias)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(x, layer.num_groups, weight, bias, layer.eps)
    assert isinstance(layer, nn.LayerNorm)
    return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)


def _gradients(layer: nn.Module, x: Tensor, changes: Sequence[Tensor], grad: Tensor, of_x: bool) -> tuple[Tensor | None, ...]:
    """The gradients of `_product` by x, where it is needed, and by the changes: that of the weight, and of the bias if there is one."""
    weight, *bias = changes
    if isinstance(layer, nn.Linear):
        rows, flat = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        return (rows @ weight).view(x.shape) if of_x else None, rows.t() @ flat, *(rows.sum(0) for _ in bias)
    if isinstance(layer, nn.Conv2d):
        how = (layer.stride, layer.padding, layer.dilation, layer.groups)
        x_grad = conv2d_input(x.shape, weight, grad, *how) if of_x else None
        return x_grad, conv2d_weight(x, weight.shape, grad, *how), *(grad.sum((0, 2, 3)) for _ in bias)
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_(of_x), *(change.requires_grad_() for change in changes)]
        result = _product(layer, leaves[0], leaves[1], leaves[2] if bias else None)
    found = torch.autograd.grad(result, leaves if of_x else leaves[1:], grad)
    return found if of_x else (None, *found)
