"""The adapter methods: one row each, and `make`, which builds one. Imports no torch, so that settings can be checked and listed quickly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import find_row

if TYPE_CHECKING:
    from torch import Tensor

    from engine.adapters.base import Method, MethodType, Site


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class LoraArgs:
    """What `network_args` may say to LoRA. The names are those of sd-scripts' networks.lora."""

    conv_dim: int | None = field(default=None, metadata=_help("rank for 3x3 convolutions, residual blocks included (C3Lier); unset: none"))
    conv_alpha: float | None = field(default=None, metadata=_help("alpha for 3x3 convolutions; unset: 1; 0: equal to conv_dim"))
    rank_dropout: float | None = field(default=None, metadata=_help("probability, 0 to 1, that a rank is left out for a picture of a step"))
    module_dropout: float | None = field(default=None, metadata=_help("probability, 0 to 1, that a layer's adapter is left out of a step"))
    loraplus_lr_ratio: float | None = field(default=None, metadata=_help("LoRA+: how many times faster lora_up learns than lora_down"))
    loraplus_unet_lr_ratio: float | None = field(default=None, metadata=_help("the same ratio for the U-Net alone"))
    loraplus_text_encoder_lr_ratio: float | None = field(default=None, metadata=_help("the same ratio for the text encoders alone"))


def _lora() -> MethodType:
    from engine.adapters.lora import Lora

    return Lora


@dataclass(frozen=True)
class MethodRow:
    """One method. `load` imports it (and torch) only when asked."""

    name: str
    load: Callable[[], MethodType]
    help: str
    options: type
    aliases: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()  # how its tensors' names end, by which a file is known


METHODS: tuple[MethodRow, ...] = (
    MethodRow(
        "lora", _lora, "LoRA: two thin factors a layer; with conv_dim also 3x3 convolutions", LoraArgs,
        aliases=("networks.lora",), suffixes=("lora_down.weight",),
    ),
)


def row(name: str) -> MethodRow:
    """The row that `network_module` names. Raises UserError for a name no row carries."""
    return find_row(METHODS, name, "adapter method", "network_module")


def make(
    method: MethodRow,
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
    rates: Mapping[str, float] | None = None,
    rank: int = 0,
) -> Method:
    """Build a method's adapters for `sites`; not attached yet.

    `options` is an instance of `method.options`; `weights` are the tensors of an adapter file to continue from (`network_weights`), and
    `dim_from_weights` takes ranks, alphas and the choice of layers from them too. `alpha` None or 0 means `dim`. Initial values depend on
    `seed` and each site's name alone; `rank`, the process's number among several, only sets dropout apart. `rates` are the learning rates
    of the sites' parts; without them nothing is trained.
    Raises UserError for values out of range and for weights that do not fit.
    """
    if not isinstance(options, method.options):
        raise TypeError(f"{method.name} takes {method.options.__name__}, not {type(options).__name__}")
    return method.load().make(
        sites,
        dim=dim,
        alpha=alpha,
        dropout=dropout,
        options=options,
        seed=seed,
        scale_weight_norms=scale_weight_norms,
        weights=weights,
        dim_from_weights=dim_from_weights,
        rates=rates or {},
        rank=rank,
    )


def from_file(sites: Sequence[Site], tensors: Mapping[str, Tensor]) -> Method:
    """The adapters that a file of these tensors holds, over `sites`; not attached yet, and not to be trained.

    Raises UserError where no method knows the tensors, and where one of them finds no site.
    """
    known = [row for row in METHODS if any(name.endswith(suffix) for name in tensors for suffix in row.suffixes)]
    method = known[0] if known else METHODS[0]  # which says what it finds instead
    made = make(method, sites, dim=1, alpha=None, dropout=None, options=method.options(), seed=0, weights=tensors, dim_from_weights=True)
    made.train(False)
    return made
