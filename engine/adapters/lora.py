"""LoRA (Hu et al. 2021, arXiv 2106.09685): W + alpha / r * up @ down."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from engine import adapterfiles
from engine.adapterfiles import LORA
from engine.adapters import forms
from engine.adapters.base import Forward, MethodSettings
from engine.adapters.layers import Delta, Dropout, Layer

_ATTENTION = re.compile(r"_attn\d?_")


class _Context(FunctionCtx):
    """What one call keeps for its backward pass."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    scale: float
    mask: Tensor | None


class _LinearNode(torch.autograd.Function):
    """A frozen Linear and its LoRA as one node: 3 matrix products forward, 5 backward, and nothing else of the activations' size."""

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        """x [..., in]; down [r, in] and up [out, r] float32; mask broadcasts over [..., r]. Returns [..., out] in x's dtype."""
        flat, thin_down, thin_up = x.reshape(-1, x.shape[-1]), down.to(x.dtype), up.to(x.dtype)
        thin = flat @ thin_down.t()
        if mask is not None:
            thin = (thin.view(*x.shape[:-1], -1) * mask).view(thin.shape)
        # The result is allocated in its final shape: a view made in here could not be changed in place by what follows the layer.
        result = x.new_empty((*x.shape[:-1], weight.shape[0]))
        rows = result.view(-1, weight.shape[0])
        if bias is None:
            torch.mm(flat, weight.t(), out=rows)
        else:
            torch.addmm(bias, flat, weight.t(), out=rows)
        rows.addmm_(thin, thin_up.t(), alpha=scale)
        ctx.save_for_backward(flat, weight, thin_down, thin_up, thin)
        ctx.mask, ctx.scale = mask, scale
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None, None]:
        """Gradients of x, down and up; the latter two in float32."""
        flat, weight, thin_down, thin_up, thin = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        nothing = rows.new_empty(1)  # beta=0: never read; addmm alone takes a factor, which spares a kernel
        thin_grad = torch.addmm(nothing, rows, thin_up, beta=0, alpha=ctx.scale)
        up_grad = torch.addmm(nothing, rows.t(), thin, beta=0, alpha=ctx.scale)
        if ctx.mask is not None:
            thin_grad = (thin_grad.view(*grad.shape[:-1], -1) * ctx.mask).view(thin_grad.shape)
        x_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = (rows @ weight).addmm_(thin_grad, thin_down).view(*grad.shape[:-1], -1)
        return x_grad, None, None, (thin_grad.t() @ flat).float(), up_grad.float(), None, None


class LoraLayer(Delta):
    """Two thin factors beside one layer. They are applied as they are: the product of the two is never formed in training."""

    down: Tensor
    up: Tensor
    kind = LORA
    form = forms.LORA
    ends = {"down": "lora_down.weight", "up": "lora_up.weight"}
    factors = ("up", "down")
    faster = ("up",)
    thin = True

    def start(self, name: str, values: Tensor, source: torch.Generator) -> None:
        """Down uniform within 1 / sqrt(inputs), as sd-scripts has it."""
        nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=source)

    def delta(self) -> Tensor:
        """The weight's change at strength 1, [out, in * k * k]."""
        return (self.up.flatten(1) * self.scale) @ self.down.flatten(1)

    @classmethod
    def dropouts(cls, settings: MethodSettings) -> tuple[Dropout, tuple[str, ...]]:
        """All three kinds."""
        return Dropout.of(settings, settings.dropout), ()

    @classmethod
    def norms(cls, layers: Sequence[Layer]) -> Tensor:
        """||scale * up @ down||, from the factors' Gram matrices: no product is ever formed. [n]."""
        own = [layer for layer in layers if isinstance(layer, LoraLayer)]
        downs = torch.stack([(flat := layer.down.flatten(1)) @ flat.t() for layer in own])
        ups = torch.stack([(flat := layer.up.flatten(1)).t() @ flat for layer in own])
        return (downs * ups).sum((1, 2)).clamp(min=0.0).sqrt() * layers[0].scale

    @classmethod
    def written_alphas(cls, alphas: Mapping[str, float]) -> Mapping[str, float]:
        """The modules' own, as sd-scripts writes them, where every program reads them so. Else the most common one for all."""
        if _read_alike(alphas):
            return alphas
        shared = Counter(alpha for alpha in alphas.values() if alpha).most_common(1)[0][0]
        return dict.fromkeys(alphas, shared)

    def run(self, inner: Forward, x: Tensor) -> Tensor:
        """Two thin products in x's dtype beside the layer's own."""
        layer, scale = self.site.layer, self.strength * self.scale
        if isinstance(layer, nn.Conv2d):
            result = inner(x)
            thin = layer._conv_forward(x, _like(self.down, x), None)
            return result + F.conv2d(self._masked(thin, 1) * scale, _like(self.up, x)).to(result.dtype)
        assert isinstance(layer, nn.Linear)
        if _is_plain(layer, inner, x):
            mask = self._mask((*x.shape[:-1], self.rank), -1, x)
            return _LinearNode.apply(x, layer.weight, layer.bias, self.down, self.up, mask, scale)
        thin = self._masked(F.linear(x, _like(self.down, x)), -1)
        result = inner(x)
        return result + F.linear(thin * scale, _like(self.up, x)).to(result.dtype)

    def _masked(self, thin: Tensor, channel: int) -> Tensor:
        """The inner activations with what dropout leaves of them."""
        mask = self._mask(thin.shape, channel, thin)
        return thin if mask is None else thin * mask

    def _mask(self, shape: Sequence[int], channel: int, like: Tensor) -> Tensor | None:
        """Factors for inner activations of `shape` whose ranks lie along `channel`; None where nothing is dropped."""
        if not self.training or not self.dropout.any:
            return None
        mask = like.new_ones(())
        if self.dropout.network:
            mask = mask * F.dropout(like.new_ones(tuple(shape)), self.dropout.network)
        if self.dropout.rank:
            per_sample = [1] * len(shape)
            per_sample[0], per_sample[channel] = shape[0], self.rank
            mask = mask * F.dropout(like.new_ones(per_sample), self.dropout.rank)
        if self.dropout.module:
            mask = mask * (torch.rand((), device=like.device) >= self.dropout.module)
        return mask


def _like(master: Tensor, x: Tensor) -> Tensor:
    """A float32 factor in x's dtype; under autocast as it is, since that casts by itself and once."""
    return master if torch.is_autocast_enabled(x.device.type) else master.to(x.dtype)


def _is_plain(layer: nn.Linear, inner: Forward, x: Tensor) -> bool:
    """Whether `inner` is a frozen Linear's own product, so that one node may compute it: not wrapped, not autocast, not trained."""
    return (
        type(layer) is nn.Linear
        and getattr(inner, "__func__", None) is nn.Linear.forward
        and not layer.weight.requires_grad
        and (layer.bias is None or not layer.bias.requires_grad)
        and not torch.is_autocast_enabled(x.device.type)
    )


def _read_alike(alphas: Mapping[str, float]) -> bool:
    """Whether diffusers too applies the alpha that stands beside each module.

    It gives the attention layers of a part (U-Net, text encoder) the most common alpha of that part (0.41, `get_peft_kwargs`).
    """
    parts: dict[str, dict[str, float]] = defaultdict(dict)
    for name, alpha in alphas.items():
        parts[adapterfiles.part(name)][name] = alpha
    for part, own in parts.items():
        (common, count), *others = Counter(own.values()).most_common(2)
        if others and others[0][1] == count:
            return False  # which of the two it takes depends on the order of the tensors
        if any(alpha != common for name, alpha in own.items() if _ATTENTION.search(name) or part != "unet"):
            return False
    return True
