"""Which sites get an adapter, and its rank and alpha there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.adapterfiles import Kind
from engine.adapters import DeltaArgs, MethodRow, names
from engine.adapters.base import MethodSettings, Spot
from engine.adapters.forms import Form
from engine.errors import UserError

_LIERLA = ("attention", "feed_forward", "transformer")


AnySpot = TypeVar("AnySpot", bound=Spot)
AnyModule = TypeVar("AnyModule")


@dataclass(frozen=True)
class Place(Generic[AnySpot]):
    """One site that gets an adapter."""

    site: AnySpot
    dim: int
    alpha: float


def chosen(method: MethodRow, sites: Sequence[AnySpot], settings: MethodSettings) -> tuple[MethodRow, list[Place[AnySpot]]]:
    """The row whose layers stand at the places that the settings give adapters, and these places; before a file has a say in it."""
    return (method, by_settings(sites, settings)) if method.chooser is None else method.chooser()(sites, settings)


def by_settings(sites: Sequence[AnySpot], settings: MethodSettings) -> list[Place[AnySpot]]:
    """As sd-scripts chooses: transformers' Linear layers and 1x1 convolutions (LierLa), with `conv_dim` also residual blocks (C3Lier).

    Only 3x3 convolutions take `conv_dim` and `conv_alpha`. The U-Net's ends and its norms are left alone.
    """
    options = settings.options
    assert isinstance(options, DeltaArgs)
    conv = options.conv_dim or 0
    chosen = [site for site in sites if site.kind != "norm" and (site.place in _LIERLA or (conv and site.place != "end"))]
    return sized(chosen, settings, conv, conv if options.conv_alpha == 0 else options.conv_alpha or 1)


def sized(sites: Sequence[AnySpot], settings: MethodSettings, conv_dim: int, conv_alpha: float) -> list[Place[AnySpot]]:
    """The given sites with the ranks and alphas of the settings. Raises UserError for a rank that is too small."""
    for value, key in ((settings.dim, "network_dim"), *([(conv_dim, "conv_dim")] if conv_dim else [])):
        if value < 1:
            raise UserError(f"a rank of {value} is too small", "give a whole number from 1 on", where=key)
    plain, square = (settings.dim, float(settings.alpha or settings.dim)), (conv_dim, float(conv_alpha))
    return [Place(site, *(square if site.kind == "conv3x3" else plain)) for site in sites]


def by_file(
    sites: Sequence[AnySpot], modules: Mapping[str, AnyModule], where: str = "network_weights"
) -> list[tuple[AnySpot, AnyModule]]:
    """The sites that a file has modules for, with those, in the order of the sites. Raises UserError for a module without a site."""
    found = names.match(modules, {site.name: site for site in sites}, where)
    by_site = {found[name]: module for name, module in modules.items()}
    return [(site, by_site[site.name]) for site in sites if site.name in by_site]


def by_weights(
    form: Form, kind: Kind, sites: Sequence[AnySpot], modules: Mapping[str, AnyModule] | None
) -> list[tuple[AnySpot, AnyModule]]:
    """The sites that `dim_from_weights` chooses: those of the file that the run continues from."""
    if modules is None:
        raise UserError("there are no weights to take the ranks from", "name a file in network_weights", where="dim_from_weights")
    found = by_file(sites, modules)
    for site, _ in found:
        require_changeable(form, kind, site, "network_weights")
    return found


def require_changeable(form: Form, kind: Kind, site: Spot, where: str) -> None:
    """Raise UserError where a file's module stands at a layer that its kind cannot change."""
    if site.kind not in form.kinds:
        told = f"`{site.name}` is a {site.kind} here, which no {kind.title} changes"
        raise UserError(told, "use a file that was made for this kind of model", where=where)


def require_some(kind: Kind, places: Sequence[object]) -> None:
    """Raise UserError where no layer gets an adapter."""
    if not places:
        raise UserError(f"no layer of this run takes {kind.title}", "train the U-Net, a text encoder, or both")
