"""LoRA (Hu et al. 2021, arXiv 2106.09685): W + alpha / r * up @ down. It sits in Linear layers and convolutions.

Without `conv_dim` it sits in the transformers' Linear layers and 1x1 convolutions (LierLa); with it also in the residual blocks, where 3x3
convolutions have a rank and alpha of their own (C3Lier). The formula itself stands in `lorafile.product`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from engine import seeds
from engine.adapters import LoraArgs, lorafile
from engine.adapters.base import Forward, LayerAdapter, LayerMethod, ParamGroup, Site
from engine.adapters.lorafile import Factors
from engine.errors import UserError


@dataclass(frozen=True)
class Dropout:
    """Probabilities, all drawn on the device in training only."""

    network: float = 0.0  # one inner activation is left out; the others are scaled up to keep the mean
    rank: float = 0.0  # one rank is left out for one sample; scaled likewise
    module: float = 0.0  # the whole adapter is left out; not scaled, as in sd-scripts


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


class LoraLayer(LayerAdapter):
    """Two thin factors beside one layer, float32 whatever the layer computes in."""

    def __init__(self, site: Site, rank: int, alpha: float, dropout: Dropout, seed: int) -> None:
        super().__init__(site)
        layer, weight = site.layer, site.weight()
        if not isinstance(layer, (nn.Linear, nn.Conv2d)) or getattr(layer, "groups", 1) != 1:
            raise TypeError(f"{site.name}: LoRA knows Linear and ungrouped Conv2d, not {layer}")
        self.rank, self.alpha, self.scale, self.dropout = rank, alpha, alpha / rank, dropout
        self.drops = any(astuple(dropout))  # asked in every call: worked out once, astuple takes as long as a kernel's launch
        down = torch.empty((rank, *weight.shape[1:]), device="meta" if weight.is_meta else "cpu")
        if not weight.is_meta:
            source = torch.Generator("cpu").manual_seed(seeds.derived(seed, "lora", site.name))
            nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=source)
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros((weight.shape[0], rank, *(1,) * (weight.dim() - 2)), device=weight.device))

    def factors(self) -> Factors:
        """The layer as a file's module."""
        return Factors(self.down, self.up, self.alpha)

    def delta(self) -> Tensor:
        """The weight's change at strength 1, float32."""
        return self.factors().delta().view(self.site.weight().shape)

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
        if not self.training or not self.drops:
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


class Lora(LayerMethod):
    """LoRA over a set of sites."""

    def __init__(
        self,
        layers: Sequence[LoraLayer],
        options: LoraArgs,
        scale_weight_norms: float | None,
        rates: Mapping[str, float],
        seed: int,
        rank: int,
    ) -> None:
        super().__init__(layers, seed, rank, random=any(layer.drops for layer in layers))
        self._lora = tuple(layers)
        self._options = options
        self._limit = scale_weight_norms
        self._rates = rates

    @classmethod
    def make(
        cls,
        sites: Sequence[Site],
        *,
        dim: int,
        alpha: float | None,
        dropout: float | None,
        options: object,
        seed: int,
        scale_weight_norms: float | None = None,
        weights: Mapping[str, Tensor] | None = None,
        dim_from_weights: bool = False,
        rates: Mapping[str, float],
        rank: int = 0,
    ) -> Lora:
        """See `engine.adapters.make`."""
        assert isinstance(options, LoraArgs)
        drop = Dropout(
            _probability(dropout, "network_dropout"),
            _probability(options.rank_dropout, "rank_dropout"),
            _probability(options.module_dropout, "module_dropout"),
        )
        if dim_from_weights:
            if weights is None:
                raise UserError("there are no weights to take the ranks from", "name a file in network_weights", where="dim_from_weights")
            plan = _plan_from_file(sites, lorafile.parse(weights, "network_weights"))
        else:
            plan = _plan(sites, dim, alpha, options)
        if not plan:
            raise UserError("no layer of this run takes a LoRA", "train the U-Net, a text encoder, or both")
        layers = [LoraLayer(site, r, a, drop, seed) for site, r, a in plan]
        method = cls(layers, options, scale_weight_norms, rates, seed, rank)
        if weights is not None:
            method.load(weights)
        return method

    def parameter_groups(self) -> list[ParamGroup]:
        """One group a part, or two with LoRA+ (Hayou et al. 2024, arXiv 2402.12354), whose lora_up learns faster."""
        parts: dict[str, list[LoraLayer]] = defaultdict(list)
        for layer in self._lora:
            parts[layer.site.part].append(layer)
        groups: list[ParamGroup] = []
        for part, layers in parts.items():
            options, rate = self._options, self._rates[part]
            own = options.loraplus_unet_lr_ratio if part == "unet" else options.loraplus_text_encoder_lr_ratio
            ratio = own or options.loraplus_lr_ratio
            downs, ups = tuple(layer.down for layer in layers), tuple(layer.up for layer in layers)
            if ratio:
                groups += [ParamGroup(part, downs, rate), ParamGroup(f"{part} up", ups, rate * ratio)]
            else:
                groups.append(ParamGroup(part, downs + ups, rate))
        return groups

    def after_step(self) -> dict[str, Tensor]:
        """Hold each layer's ||alpha / r * up @ down|| at `scale_weight_norms` or below, scaling both factors alike."""
        if self._limit is None:
            return {}
        with torch.no_grad():
            groups = self._alike()
            norms = torch.cat([_norms(layers) for layers in groups])
            ratios = (self._limit / norms).clamp(max=1.0)  # a norm of 0 gives infinity, then 1
            for layer, root in zip((layer for layers in groups for layer in layers), ratios.sqrt().unbind(), strict=True):
                layer.down.mul_(root)
                layer.up.mul_(root)
            held = norms * ratios
        return {"average norm": held.mean(), "greatest norm": held.max(), "layers held": (ratios < 1.0).sum()}

    def _alike(self) -> list[list[LoraLayer]]:
        """The layers in groups of equal rank and scale."""
        groups: dict[tuple[int, float], list[LoraLayer]] = defaultdict(list)
        for layer in self._lora:
            groups[layer.rank, layer.scale].append(layer)
        return list(groups.values())

    def tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of the file."""
        return lorafile.pack({layer.site.name: layer.factors() for layer in self._lora}, dtype)

    def write(self, path: Path, dtype: torch.dtype, metadata: Mapping[str, str]) -> tuple[Path, ...]:
        """One file, as every image program reads it."""
        lorafile.write(path, self.tensors, dtype, metadata)
        return (path,)

    def size(self, dtype: torch.dtype) -> int:
        """Bytes of the tensors as they will be written; none is copied."""
        meta = torch.device("meta")
        modules = {layer.site.name: Factors(layer.down.detach().to(meta), layer.up.detach().to(meta), layer.alpha) for layer in self._lora}
        return sum(tensor.numel() * tensor.element_size() for tensor in lorafile.pack(modules, dtype).values())

    def advice(self, name: str, file: Path) -> list[tuple[str, str]]:
        """Where the programs want a LoRA, and how it is switched on."""
        return [
            ("WebUI, Forge", f"into models/Lora; write <lora:{name}:1> and the words"),
            ("ComfyUI", "into models/loras; add a LoraLoader node, write the words"),
            ("diffusers", f'pipe.load_lora_weights(r"{file}")'),
        ]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a file's values so that each layer's change is the file's, whatever alpha the file was made with."""
        modules = lorafile.parse(tensors, "network_weights")
        mine = {layer.site.name: layer for layer in self._lora}
        found = lorafile.match(modules, mine, "network_weights")
        missing = sorted(set(mine) - set(found.values()))
        if missing:
            raise UserError(
                f"the file lacks {len(missing)} of the {len(mine)} modules that this run trains, such as `{missing[0]}`",
                "train the parts that the file holds, or set dim_from_weights to take the choice of layers from it",
                where="network_weights",
            )
        for name, factors in modules.items():
            _check_fit(name, factors, mine[found[name]])
        with torch.no_grad():
            for name, factors in modules.items():
                layer = mine[found[name]]
                layer.down.copy_(factors.down.reshape(layer.down.shape))
                layer.up.copy_(factors.up.reshape(layer.up.shape).float() * (factors.scale / layer.scale))


def _norms(layers: Sequence[LoraLayer]) -> Tensor:
    """||scale * up @ down|| of layers alike in rank and scale, from the factors' Gram matrices: no product is ever formed. [n]."""
    downs = torch.stack([(flat := layer.down.flatten(1)) @ flat.t() for layer in layers])
    ups = torch.stack([(flat := layer.up.flatten(1)).t() @ flat for layer in layers])
    return (downs * ups).sum((1, 2)).clamp(min=0.0).sqrt() * layers[0].scale


def _plan(sites: Sequence[Site], dim: int, alpha: float | None, options: LoraArgs) -> list[tuple[Site, int, float]]:
    """Which sites get an adapter, each with its rank and alpha."""
    conv = options.conv_dim or 0
    if dim < 1:
        raise UserError(f"a rank of {dim} is too small", "give a whole number from 1 on", where="network_dim")
    if conv < 0:
        raise UserError(f"a rank of {conv} is too small", "give a whole number from 1 on, or leave it out", where="conv_dim")
    plain = (dim, float(alpha or dim))
    square = (conv, float(conv if options.conv_alpha == 0 else options.conv_alpha or 1))
    return [(site, *(square if site.kind == "conv3x3" else plain)) for site in sites if site.default or conv]


def _plan_from_file(sites: Sequence[Site], modules: Mapping[str, Factors]) -> list[tuple[Site, int, float]]:
    """The sites that a file holds, with the ranks and alphas it has."""
    found = lorafile.match(modules, {site.name: site for site in sites}, "network_weights")
    ranks = {found[name]: (factors.rank, factors.alpha) for name, factors in modules.items()}
    return [(site, *ranks[site.name]) for site in sites if site.name in ranks]


def _check_fit(name: str, factors: Factors, layer: LoraLayer) -> None:
    """Raise UserError unless the file's factors are the layer's in size."""
    if factors.rank != layer.rank:
        raise UserError(
            f"`{name}` has rank {factors.rank} in the file and {layer.rank} in this run",
            f"set network_dim (for 3x3 convolutions conv_dim) to {factors.rank}, or set dim_from_weights",
            where="network_weights",
        )
    if factors.down.numel() != layer.down.numel() or factors.up.numel() != layer.up.numel():
        raise UserError(
            f"`{name}` is {list(factors.down.shape)} and {list(factors.up.shape)} in the file, "
            f"{list(layer.down.shape)} and {list(layer.up.shape)} here",
            "continue from a LoRA of the same kind of model",
            where="network_weights",
        )


def _probability(value: float | None, key: str) -> float:
    """A dropout setting as a number. Raises UserError outside 0 <= p < 1."""
    number = value or 0.0
    if not 0.0 <= number < 1.0:
        raise UserError(f"{number} is no dropout probability", "give a number from 0 up to, not including, 1", where=key)
    return number
