"""LyCORIS' presets: which layers are changed, by which of our methods. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import adapters
from engine.adapters import LycorisArgs, MethodRow, plan
from engine.adapters.base import MethodSettings, Spot
from engine.adapters.plan import AnySpot, Place
from engine.errors import UserError

_TRANSFORMER = frozenset(("attention", "feed_forward", "transformer"))
_RESIDUAL = frozenset(("resnet", "sampler"))
_CONVOLUTIONS = ("lora_unet_conv_in", "lora_unet_conv_out")
_TIME = ("lora_unet_time_embedding_linear_1", "lora_unet_time_embedding_linear_2")


@dataclass(frozen=True)
class _Preset:
    """Which sites a preset takes. `ends` are names in diffusers' layout, as LyCORIS has them: SDXL's modules are called otherwise."""

    unet: frozenset[str] = _TRANSFORMER | _RESIDUAL  # places
    text: frozenset[str] = _TRANSFORMER
    ends: tuple[str, ...] = ()
    conv: bool = False  # 3x3 convolutions too

    def takes(self, site: Spot) -> bool:
        """Whether a site gets an adapter."""
        if site.kind == "norm" or (site.kind == "conv3x3" and not self.conv):
            return False
        return site.name in self.ends or site.place in (self.unet if site.part == "unet" else self.text)


_NONE: frozenset[str] = frozenset()
_PRESETS: dict[str, _Preset] = {
    "full": _Preset(ends=(*_CONVOLUTIONS, *_TIME), conv=True),
    "full-lin": _Preset(ends=_TIME),
    "attn-mlp": _Preset(_TRANSFORMER),
    "attn-only": _Preset(frozenset(("attention",)), frozenset(("attention",))),
    "unet-only": _Preset(text=_NONE, ends=(*_CONVOLUTIONS, *_TIME), conv=True),
    "unet-transformer-only": _Preset(_TRANSFORMER, _NONE),
    "unet-convblock-only": _Preset(_RESIDUAL, _NONE, _CONVOLUTIONS, conv=True),
}


def by_preset(sites: Sequence[AnySpot], settings: MethodSettings) -> tuple[MethodRow, list[Place[AnySpot]]]:
    """The row that `algo` names, and the places of the preset, as LyCORIS 4.1 chooses them.

    Raises UserError where it has none, unless a file chooses (`dim_from_weights`).
    """
    args = settings.options
    assert isinstance(args, LycorisArgs)
    row = adapters.row("lora" if args.algo == "locon" else args.algo)
    conv_dim = args.conv_dim or settings.dim
    preset = _PRESETS[args.preset]
    chosen = [site for site in sites if preset.takes(site) and (conv_dim > 0 or site.kind != "conv3x3")]  # LyCORIS: -1 leaves them out
    places = plan.sized(chosen, settings, max(conv_dim, 0), args.conv_alpha or settings.alpha or conv_dim)
    if not places and not settings.dim_from_weights:
        message = f"the preset {args.preset} has no layer in the parts that this run trains"
        raise UserError(message, "choose another preset, or train the parts that it has layers in", where="network_args")
    return row, places
