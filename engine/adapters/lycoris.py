"""`lycoris.kohya`: LyCORIS' words and defaults for our methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.adapters import DeltaArgs, LycorisArgs
from engine.adapters.base import MethodSettings, Site
from engine.adapters.layers import probability
from engine.adapters.method import LayerMethod, build
from engine.adapters.presets import by_preset


def make(sites: Sequence[Site], settings: MethodSettings) -> LayerMethod:
    """The method that `algo` names, as LyCORIS 4.1 sets it up."""
    args = settings.options
    assert isinstance(args, LycorisArgs)
    row, places = by_preset(sites, settings)
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
    if kind.form.thin and (own.dropout or args.rank_dropout or args.rank_dropout_scale):
        told.append(f"algo = {args.algo} leaves out activations and ranks as networks.lora does, which is not LyCORIS' way in every point")
    if any(ratios) and not reached:
        told.append(f"LoRA+ has no effect: in LyCORIS it reaches lora_up alone, which algo = {args.algo} does not have")
    return build(kind, sites, places, own, replace(dropout, rows="drawn" if args.rank_dropout_scale else "none"), told)
