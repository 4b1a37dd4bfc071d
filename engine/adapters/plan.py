"""Which sites get an adapter, and its rank and alpha there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.adapters import DeltaArgs, names
from engine.adapters.base import MethodSettings, Site
from engine.adapters.file import Module
from engine.errors import UserError

_LIERLA = ("attention", "feed_forward", "transformer")


@dataclass(frozen=True)
class Place:
    """One site that gets an adapter."""

    site: Site
    dim: int
    alpha: float


def by_settings(sites: Sequence[Site], settings: MethodSettings) -> list[Place]:
    """As sd-scripts chooses: transformers' Linear layers and 1x1 convolutions (LierLa), with `conv_dim` also residual blocks (C3Lier).

    Only 3x3 convolutions take `conv_dim` and `conv_alpha`. The U-Net's ends and its norms are left alone.
    """
    options = settings.options
    assert isinstance(options, DeltaArgs)
    conv = options.conv_dim or 0
    chosen = [site for site in sites if site.kind != "norm" and (site.place in _LIERLA or (conv and site.place != "end"))]
    return sized(chosen, settings, conv, conv if options.conv_alpha == 0 else options.conv_alpha or 1)


def sized(sites: Sequence[Site], settings: MethodSettings, conv_dim: int, conv_alpha: float) -> list[Place]:
    """The given sites with the ranks and alphas of the settings. Raises UserError for a rank that is too small."""
    for value, key in ((settings.dim, "network_dim"), *([(conv_dim, "conv_dim")] if conv_dim else [])):
        if value < 1:
            raise UserError(f"a rank of {value} is too small", "give a whole number from 1 on", where=key)
    plain, square = (settings.dim, float(settings.alpha or settings.dim)), (conv_dim, float(conv_alpha))
    return [Place(site, *(square if site.kind == "conv3x3" else plain)) for site in sites]


def by_file(sites: Sequence[Site], modules: Mapping[str, Module], where: str = "network_weights") -> list[tuple[Place, Module]]:
    """The sites that a file has modules for, with those, in the order of the sites. Raises UserError for a module without a site."""
    found = names.match(modules, {site.name: site for site in sites}, where)
    by_site = {found[name]: module for name, module in modules.items()}
    return [(Place(site, module.rank, module.alpha), module) for site in sites if (module := by_site.get(site.name))]
