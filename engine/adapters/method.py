"""The `Method` over changed layers, one a site, of one or several kinds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import adapterfiles, adapters, seeds
from engine.adapterfiles import ALPHA
from engine.adapters import DeltaArgs, file, names, plan, sizes
from engine.adapters.base import Attachment, MethodSettings, ParamGroup, Site
from engine.adapters.file import Module
from engine.adapters.layers import Dropout, Layer
from engine.adapters.plan import Place
from engine.errors import UserError, plural


class LayerMethod:
    """See `engine.adapters.base.Method`."""

    def __init__(self, layers: Sequence[Layer], settings: MethodSettings, notices: Sequence[str] = ()) -> None:
        self.layers = tuple(layers)
        self.notices = tuple(notices)
        self._settings = settings
        self._options = settings.options if isinstance(settings.options, DeltaArgs) else DeltaArgs()
        self._random = any(layer.dropout.any for layer in layers)
        self._attached: list[Attachment] = []
        self._strength = 1.0

    @property
    def trains(self) -> frozenset[str]:
        """The parts that carry adapters."""
        return frozenset(layer.site.part for layer in self.layers)

    @property
    def strength(self) -> float:
        """1 = as trained, 0 = the base model."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = value
        for layer in self.layers:
            layer.strength = value

    def attach(self) -> None:
        """Stand in front of the layers. Raises RuntimeError when already attached."""
        if self._attached:
            raise RuntimeError("the method is attached already")
        self._attached = [Attachment(layer.site.layer, layer) for layer in self.layers]

    def detach(self) -> None:
        """Give the layers back as they were; does nothing when not attached."""
        while self._attached:
            self._attached[-1].remove()
            self._attached.pop()

    def prepare(self, micro_step: int, batch: object) -> None:
        """Reseed the devices' own generators, if anything is drawn.

        Those, and not generators of ours, because gradient checkpointing restores them when it computes a block a second time.
        """
        if self._random:
            torch.manual_seed(seeds.derived(self._settings.seed, "dropout", micro_step, self._settings.rank))

    def train(self, mode: bool) -> None:
        """Dropout on or off."""
        for layer in self.layers:
            layer.train(mode)

    def names(self) -> list[str]:
        """The sites that carry an adapter, in file naming."""
        return [layer.site.name for layer in self.layers]

    def parameter_groups(self) -> list[ParamGroup]:
        """One group a part, or two with LoRA+ (Hayou et al. 2024, arXiv 2402.12354)."""
        parts: dict[str, list[Layer]] = defaultdict(list)
        for layer in self.layers:
            parts[layer.site.part].append(layer)
        groups: list[ParamGroup] = []
        for part, layers in parts.items():
            rate, ratio = self._settings.rates[part], self._options.lora_plus(part)
            slow: list[nn.Parameter] = []
            fast: list[nn.Parameter] = []
            for name in dict.fromkeys(name for layer in layers for name in layer.ends):
                for layer in layers:
                    if name in layer.ends:
                        (fast if ratio and name in layer.faster else slow).append(getattr(layer, name))
            groups += [ParamGroup(part, tuple(slow), rate)] if slow else []
            groups += [ParamGroup(f"{part} up", tuple(fast), rate * ratio)] if ratio and fast else []
        return groups

    def after_step(self) -> dict[str, Tensor]:
        """Hold the norm of each layer's change at `scale_weight_norms` or below, scaling all factors alike."""
        limit = self._settings.scale_weight_norms
        if limit is None:
            return {}
        alike: dict[tuple[type[Layer], int, float], list[Layer]] = defaultdict(list)
        for layer in self.layers:
            alike[type(layer), layer.rank, layer.scale].append(layer)
        with torch.no_grad():
            norms = torch.cat([kind.norms(layers) for (kind, _, _), layers in alike.items()])
            ratios = (limit / norms).clamp(max=1.0)  # a norm of 0 gives infinity, then 1
            for layer, ratio in zip((layer for layers in alike.values() for layer in layers), ratios.unbind(), strict=True):
                root = ratio ** (1.0 / len(layer.factors))
                for name in layer.factors:
                    getattr(layer, name).mul_(root)
            held = norms * ratios
        return {"average norm": held.mean(), "greatest norm": held.max(), "layers held": (ratios < 1.0).sum()}

    def tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of the file, copied to the CPU in `dtype`. Each module has its alpha beside it."""
        alphas = self._written_alphas()
        found: dict[str, Tensor] = {}
        for layer in self.layers:
            name = layer.site.name
            for end, tensor in layer.pack(alphas[name]).items():
                home = "meta" if tensor.is_meta else "cpu"  # the first have no values and tell only sizes
                found[f"{name}.{end}"] = tensor.to(device=home, dtype=dtype, copy=True)
            if layer.kind.rank:
                found[f"{name}.{ALPHA}"] = file.exact(alphas[name], dtype)
        return found

    def _written_alphas(self) -> dict[str, float]:
        """Site -> the alpha that the file gives it."""
        kinds: dict[type[Layer], dict[str, float]] = defaultdict(dict)
        for layer in self.layers:
            kinds[type(layer)][layer.site.name] = layer.alpha
        return {name: alpha for kind, alphas in kinds.items() for name, alpha in kind.written_alphas(alphas).items()}

    def write(self, path: Path, dtype: torch.dtype, metadata: Mapping[str, str]) -> tuple[Path, ...]:
        """One file, as every image program reads it."""
        alphas = self._written_alphas()
        found = sizes.of((layer.site.kind == "conv3x3", layer.rank, alphas[layer.site.name]) for layer in self.layers)
        file.write(path, self.tensors, self._is_nothing, dtype, sizes.told(metadata, found))
        return (path,)

    def _is_nothing(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a file of these tensors would change nothing."""
        return all(layer.is_nothing({end: tensors[f"{layer.site.name}.{end}"] for end in layer.ends.values()}) for layer in self.layers)

    def size(self, dtype: torch.dtype) -> int:
        """Bytes of the tensors as they will be written; none is copied."""
        written = self._written_alphas()
        alphas = sum(file.exact(written[layer.site.name], dtype).element_size() for layer in self.layers if layer.kind.rank)
        return alphas + sum(parameter.numel() for layer in self.layers for parameter in layer.parameters()) * dtype.itemsize

    def advice(self, name: str, file: Path) -> list[tuple[str, str]]:
        """How the file is used, a line for each program."""
        return adapterfiles.advice(dict.fromkeys(layer.kind for layer in self.layers), name, str(file))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a file's values so that each layer's change is the file's, whatever alpha the file was made with."""
        modules = file.modules(tensors, "network_weights")
        mine = {layer.site.name: layer for layer in self.layers}
        found = names.match(modules, mine, "network_weights")
        missing = sorted(set(mine) - set(found.values()))
        if missing:
            raise UserError(
                f"the file lacks {len(missing)} of the {plural(len(mine), 'module')} that this run trains, such as `{missing[0]}`",
                "train the parts that the file holds, or set dim_from_weights to take the choice of layers from it",
                where="network_weights",
            )
        for name, module in modules.items():
            _check_fit(name, module, mine[found[name]], "network_weights")
        for name, module in modules.items():
            mine[found[name]].unpack(module)


def networks(kind: type[Layer], sites: Sequence[Site], settings: MethodSettings) -> LayerMethod:
    """The method as sd-scripts' `networks.<name>` builds it."""
    dropout, notices = kind.dropouts(settings)
    return build(kind, sites, plan.by_settings(sites, settings), settings, dropout, notices)


def build(
    kind: type[Layer],
    sites: Sequence[Site],
    places: Sequence[Place],
    settings: MethodSettings,
    dropout: Dropout,
    notices: Sequence[str] = (),
) -> LayerMethod:
    """The method of one kind of layer over the chosen places, continuing from `settings.weights` where there are any.

    With `dim_from_weights` the file says which of `sites` get an adapter, and of which rank.
    """
    if settings.dim_from_weights:
        if settings.weights is None:
            raise UserError("there are no weights to take the ranks from", "name a file in network_weights", where="dim_from_weights")
        places = [place for place, _ in plan.by_file(sites, file.modules(settings.weights, "network_weights"))]
        for place in places:
            _require_changeable(kind, place, "network_weights")
            if not place.alpha:
                told = f"alpha of `{place.site.name}` is 0 in the file, so that nothing of it could be trained"
                raise UserError(told, "leave out dim_from_weights, and set network_dim and network_alpha", where="network_weights")
    if not places:
        raise UserError(f"no layer of this run takes {kind.kind.title}", "train the U-Net, a text encoder, or both")
    if settings.scale_weight_norms is not None and not kind.factors:
        raise UserError(f"the norm of {kind.kind.title} cannot be held", "leave it out", where="scale_weight_norms")
    method = LayerMethod([kind(place.site, place.dim, place.alpha, dropout, settings.seed) for place in places], settings, notices)
    if settings.weights is not None:
        method.load(settings.weights)
    return method


def of_file(sites: Sequence[Site], tensors: Mapping[str, Tensor], where: str) -> LayerMethod:
    """The changes that a file of these tensors holds, over `sites`, not to be trained; its modules may be of several kinds."""
    kinds = {row.kind: row.layer() for row in adapters.METHODS if row.kind and row.layer}
    layers = []
    for place, module in plan.by_file(sites, file.modules(tensors, where), where):
        _require_changeable(kinds[module.kind], place, where)
        layer = kinds[module.kind](place.site, place.dim, place.alpha, Dropout(), 0)
        _check_fit(place.site.name, module, layer, where)
        layer.unpack(module)
        layers.append(layer)
    method = LayerMethod(layers, MethodSettings(1, None, None, DeltaArgs(), 0))
    method.train(False)
    return method


def _require_changeable(kind: type[Layer], place: Place, where: str) -> None:
    """Raise UserError where a file's module stands at a layer that its kind cannot change."""
    if place.site.kind not in kind.kinds:
        told = f"`{place.site.name}` is a {place.site.kind} here, which no {kind.kind.title} changes"
        raise UserError(told, "use a file that was made for this kind of model", where=where)


def _check_fit(name: str, module: Module, layer: Layer, where: str) -> None:
    """Raise UserError unless the file's module is the layer's in kind and size."""
    if module.kind is not layer.kind:
        raise UserError(
            f"`{name}` is {module.kind.title} in the file and {layer.kind.title} in this run",
            "set network_module (of lycoris.kohya: algo) to the method that made the file",
            where=where,
        )
    if module.rank != layer.rank:
        raise UserError(
            f"`{name}` has rank {module.rank} in the file and {layer.rank} in this run",
            f"set network_dim (for 3x3 convolutions conv_dim) to {module.rank}, or set dim_from_weights",
            where=where,
        )
    shapes = [(list(module.tensors[end].shape), list(getattr(layer, parameter).shape)) for parameter, end in layer.ends.items()]
    if any(theirs[:1] != ours[:1] or math.prod(theirs) != math.prod(ours) for theirs, ours in shapes):  # a matrix may stand for a 1x1
        raise UserError(
            f"`{name}` is {' and '.join(str(theirs) for theirs, _ in shapes)} in the file, "
            f"{' and '.join(str(ours) for _, ours in shapes)} here",
            "use a file that was made for this kind of model",
            where=where,
        )
