"""The adapter methods: one row each, and `make`, which builds one. Imports no torch, so that settings can be checked and listed quickly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from engine.adapterfiles import LOHA, LORA, Kind
from engine.errors import find_row

if TYPE_CHECKING:
    from torch import Tensor

    from engine.adapters.base import Method, MethodSettings, Site
    from engine.adapters.layers import Layer


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class DeltaArgs:
    """What `network_args` may say to a method of changed weights, by the names of sd-scripts' networks.lora and networks.loha."""

    conv_dim: int | None = field(default=None, metadata=_help("rank for 3x3 convolutions, residual blocks included (C3Lier); unset: none"))
    conv_alpha: float | None = field(default=None, metadata=_help("alpha for 3x3 convolutions; unset: 1; 0: equal to conv_dim"))
    rank_dropout: float | None = field(
        default=None, metadata=_help("probability, 0 to 1, that a rank is left out for a picture of a step (LoHa: a row for a step)")
    )
    module_dropout: float | None = field(default=None, metadata=_help("probability, 0 to 1, that a layer's adapter is left out of a step"))
    loraplus_lr_ratio: float | None = field(
        default=None, metadata=_help("LoRA+: how many times faster the factor learns that starts at zero (lora_up, hada_w2_a)")
    )
    loraplus_unet_lr_ratio: float | None = field(default=None, metadata=_help("the same ratio for the U-Net alone"))
    loraplus_text_encoder_lr_ratio: float | None = field(default=None, metadata=_help("the same ratio for the text encoders alone"))

    def lora_plus(self, part: str) -> float | None:
        """The ratio for a part of the model."""
        own = self.loraplus_unet_lr_ratio if part == "unet" else self.loraplus_text_encoder_lr_ratio
        return own or self.loraplus_lr_ratio


Preset = Literal["full", "full-lin", "attn-mlp", "attn-only", "unet-only", "unet-transformer-only", "unet-convblock-only"]


@dataclass(frozen=True)
class LycorisArgs:
    """What `network_args` may say to LyCORIS (lycoris.kohya). Names and defaults are its own."""

    algo: Literal["lora", "locon", "loha"] = field(default="lora", metadata=_help("the method"))
    preset: Preset = field(default="full", metadata=_help("which layers are changed"))
    conv_dim: int | None = field(default=None, metadata=_help("rank for 3x3 convolutions; unset or 0: network_dim; -1: none of them"))
    conv_alpha: float | None = field(default=None, metadata=_help("alpha for 3x3 convolutions; unset or 0: network_alpha"))
    dropout: float | None = field(default=None, metadata=_help("as network_dropout, for lora and locon"))
    rank_dropout: float | None = field(default=None, metadata=_help("lora, locon: as in networks.lora; loha: an output row is left out"))
    rank_dropout_scale: bool = field(default=False, metadata=_help("loha: the rows left make up for those left out"))
    module_dropout: float | None = field(default=None, metadata=_help("probability, 0 to 1, that a layer's adapter is left out of a step"))
    loraplus_lr_ratio: float | None = field(default=None, metadata=_help("LoRA+, for lora and locon: how many times faster lora_up learns"))
    loraplus_unet_lr_ratio: float | None = field(default=None, metadata=_help("the same ratio for the U-Net alone"))
    loraplus_text_encoder_lr_ratio: float | None = field(default=None, metadata=_help("the same ratio for the text encoders alone"))


class Maker(Protocol):
    """What builds a method."""

    def __call__(self, sites: Sequence[Site], settings: MethodSettings) -> Method: ...


def _lora() -> type[Layer]:
    from engine.adapters.lora import LoraLayer

    return LoraLayer


def _loha() -> type[Layer]:
    from engine.adapters.loha import LohaLayer

    return LohaLayer


def _lycoris() -> Maker:
    from engine.adapters.lycoris import make

    return make


@dataclass(frozen=True)
class MethodRow:
    """One method. `layer` and `maker` import it, and torch, only when asked."""

    name: str
    help: str
    options: type
    aliases: tuple[str, ...] = ()
    kind: Kind | None = None  # of the modules in its files
    layer: Callable[[], type[Layer]] | None = None  # what stands at a site
    maker: Callable[[], Maker] | None = None  # where sd-scripts' choice of sites and settings is not the method's


METHODS: tuple[MethodRow, ...] = (
    MethodRow("lora", "LoRA: two thin factors a layer; with conv_dim also 3x3 convolutions", DeltaArgs, ("networks.lora",), LORA, _lora),
    MethodRow("loha", "LoHa: the elementwise product of two LoRAs", DeltaArgs, ("networks.loha",), LOHA, _loha),
    MethodRow("lycoris", "LyCORIS: its names, defaults and presets for LoRA and LoHa", LycorisArgs, ("lycoris.kohya",), maker=_lycoris),
)


def row(name: str) -> MethodRow:
    """The row that `network_module` names. Raises UserError for a name no row carries."""
    return find_row(METHODS, name, "adapter method", "network_module")


def make(method: MethodRow, sites: Sequence[Site], settings: MethodSettings) -> Method:
    """Build a method's adapters for `sites`; not attached yet.

    Raises UserError for values out of range, where no site takes an adapter, and for weights that do not fit.
    """
    from engine.adapters.method import networks

    if not isinstance(settings.options, method.options):
        raise TypeError(f"{method.name} takes {method.options.__name__}, not {type(settings.options).__name__}")
    if method.maker is not None:
        return method.maker()(sites, settings)
    assert method.layer is not None
    return networks(method.layer(), sites, settings)


def from_file(sites: Sequence[Site], tensors: Mapping[str, Tensor], where: str = "") -> Method:
    """The adapters that a file of these tensors holds, over `sites`; not attached yet, and not to be trained.

    Raises UserError where no method knows a module, and where one finds no site or does not fit it.
    """
    from engine.adapters.method import of_file

    return of_file(sites, tensors, where)
