"""`lycoris.kohya`: LyCORIS' words, defaults and presets for our methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import adapters
from engine.adapters import DeltaArgs, LycorisArgs, plan
from engine.adapters.base import MethodSettings, Site
from engine.adapters.layers import probability
from engine.adapters.method import LayerMethod, build
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

    def takes(self, site: Site) -> bool:
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


def make(sites: Sequence[Site], settings: MethodSettings) -> LayerMethod:
    """The method that `algo` names, as LyCORIS 4.1 sets it up."""
    args = settings.options
    assert isinstance(args, LycorisArgs)
    row = adapters.row("lora" if args.algo == "locon" else args.algo)
    assert row.layer is not None
    kind = row.layer()
    ratios = (args.loraplus_lr_ratio, args.loraplus_unet_lr_ratio, args.loraplus_text_encoder_lr_ratio)
    reached = any("lora_up" in end for end in kind.ends.values())
    probability(args.dropout, "dropout")
    own = replace(
        settings,
        dropout=args.dropout or settings.dropout,
        options=DeltaArgs(None, None, args.rank_dropout, args.module_dropout, *(ratios if reached else ())),
    )
    dropout, notices = kind.dropouts(own)
    told = list(notices)
    if kind.thin and (own.dropout or args.rank_dropout or args.rank_dropout_scale):
        told.append(f"algo = {args.algo} leaves out activations and ranks as networks.lora does, which is not LyCORIS' way in every point")
    if any(ratios) and not reached:
        told.append(f"LoRA+ has no effect: in LyCORIS it reaches lora_up alone, which algo = {args.algo} does not have")
    conv_dim = args.conv_dim or settings.dim
    preset = _PRESETS[args.preset]
    chosen = [site for site in sites if preset.takes(site) and (conv_dim > 0 or site.kind != "conv3x3")]  # LyCORIS: -1 leaves them out
    places = plan.sized(chosen, own, max(conv_dim, 0), args.conv_alpha or settings.alpha or conv_dim)
    if not places and not settings.dim_from_weights:
        message = f"the preset {args.preset} has no layer in the parts that this run trains"
        raise UserError(message, "choose another preset, or train the parts that it has layers in", where="network_args")
    return build(kind, sites, places, own, replace(dropout, rows="drawn" if args.rank_dropout_scale else "none"), told)
