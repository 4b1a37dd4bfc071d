"""A run's memory that is known to the byte: networks, parameters, states.

Names and shapes tell all of it: those of the base model, or of the family's own where none is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import adapters, headers
from engine.adapters import outline
from engine.adapters.outline import Outline, Parameter
from engine.config.schema import Config
from engine.errors import UserError
from engine.models import blueprint
from engine.models.family import Checkpoint
from engine.models.layouts import FamilyLayout, layout_of
from engine.models.recognise import recognise, recognise_vae
from engine.models.specs import Spec
from engine.models.spots import spots
from engine.models.usual import USUAL
from engine.optimization.optimizers import find_optimizer
from engine.vram import trained

VALUE_BYTES = {"no": 4, "fp16": 2, "bf16": 2}  # of the number formats that `mixed_precision` names
_FLOAT, _POSITION = 4, 8
_BLOCK = 512  # bytes; PyTorch's allocator hands out multiples of it on a card
_ENCODER, _DECODER = ("encoder.", "quant_conv."), ("decoder.", "post_quant_conv.")


@dataclass(frozen=True)
class Memory:
    """What some tensors take."""

    tensors: int = 0
    bytes: int = 0  # of their values
    allocated: int = 0  # on a card: each tensor's bytes rounded up to whole blocks of its allocator

    @classmethod
    def of(cls, sizes: Iterable[int]) -> Memory:
        """That of tensors of so many bytes."""
        listed = tuple(sizes)
        return cls(len(listed), sum(listed), sum(math.ceil(size / _BLOCK) * _BLOCK for size in listed))

    def __add__(self, other: Memory) -> Memory:
        """Both together."""
        return Memory(self.tensors + other.tensors, self.bytes + other.bytes, self.allocated + other.allocated)


@dataclass(frozen=True)
class Model:
    """The networks of a run, before any is loaded."""

    layout: FamilyLayout
    networks: Mapping[str, Spec]  # by part; `vae` is the one that the run uses


@dataclass(frozen=True)
class Exact:
    """What a run's settings fix to the byte. Not all of it is in memory at one time."""

    networks: Mapping[str, Memory]  # every part, in the number format that the run loads it in
    vae_precision: str
    vae_encoder: Memory  # of `networks["vae"]`: what encoding needs
    vae_decoder: Memory  # and decoding
    outline: Outline  # what is trained
    trained: Mapping[str, Memory]  # its parameters in float32, by the part of the model; a part that is not trained is left out
    optimizer: Memory  # its state after the first step

    @property
    def parameters(self) -> Memory:
        """All that is trained."""
        return sum(self.trained.values(), Memory())

    @property
    def gradients(self) -> Memory:
        """Float32 as the parameters are, one for each."""
        return self.parameters


def model_of(config: Config) -> Model:
    """The base model that the settings name, with their VAE; else the usual one of their family. No weight is read.

    Raises UserError where neither is named, and for a file that is no base model or no VAE.
    """
    path, family, vae = config.model.pretrained_model_name_or_path, config.model.family, config.model.vae
    if path:
        return of_checkpoint(recognise(Path(path)), Path(vae) if vae else None)
    if not family:
        hint = "name a base model, or set `family`"
        raise UserError("neither a base model nor a family is named", hint, where="pretrained_model_name_or_path")
    return _with_vae(Model(layout_of(family), USUAL[family]), Path(vae) if vae else None)


def of_checkpoint(checkpoint: Checkpoint, vae: Path | None) -> Model:
    """A recognised base model, with the VAE to use instead of its own, if any."""
    networks = {part: source.spec for part, source in checkpoint.networks.items()}
    return _with_vae(Model(layout_of(checkpoint.family), networks), vae)


def _with_vae(model: Model, vae: Path | None) -> Model:
    return Model(model.layout, {**model.networks, "vae": recognise_vae(vae, model.layout.name).spec}) if vae else model


def exact(config: Config, model: Model, precision: str) -> Exact:
    """All of it, for a run that computes in `precision` (`no`, `fp16` or `bf16`).

    Raises UserError for what the settings cannot train.
    """
    changes = outlined(config, model)
    found = changes.parameters
    parts = dict.fromkeys(parameter.part for parameter in found)
    vae_precision = "no" if model.layout.vae_exact(precision == "fp16", config.model.no_half_vae) else precision
    vae = model.networks["vae"]
    return Exact(
        {part: network(spec, vae_precision if part == "vae" else precision) for part, spec in model.networks.items()},
        vae_precision,
        network(vae, vae_precision, lambda name: name.startswith(_ENCODER)),
        network(vae, vae_precision, lambda name: name.startswith(_DECODER)),
        changes,
        {part: Memory.of(_bytes(parameter) for parameter in found if parameter.part == part) for part in parts},
        optimizer_state(config, found),
    )


def network(spec: Spec, precision: str, chosen: Callable[[str], bool] = lambda name: True) -> Memory:
    """A network's tensors whose names (diffusers') are `chosen`, in a number format; with the positions that no file holds."""
    weights = [math.prod(shape) * VALUE_BYTES[precision] for name, shape in blueprint.tensors(spec).items() if chosen(name)]
    positions = blueprint.positions(spec) * _POSITION
    return Memory.of([*weights, positions] if positions else weights)


def outlined(config: Config, model: Model) -> Outline:
    """What the settings train."""
    rates, _ = trained.part_rates(config, model.layout.text_parts)
    sites = [spot for part in rates for spot in spots(model.layout.part(part), blueprint.tensors(model.networks[part]))]
    with trained.naming_weights(config):
        file = trained.weights_file(config)
        weights = {name: info.shape for name, info in headers.read(file).tensors.items()} if file else None
        settings = trained.method_settings(config, rates)
        return outline.outline(adapters.row(config.network.network_module), sites, settings, weights)


def optimizer_state(config: Config, found: Iterable[Parameter]) -> Memory:
    """What the optimizer of the settings keeps for these parameters."""
    row = find_optimizer(config.optimizer.optimizer_type)
    return Memory.of(row.state(tuple(found), row.options(**config.optimizer.optimizer_args)))


def _bytes(parameter: Parameter) -> int:
    return math.prod(parameter.shape) * _FLOAT
