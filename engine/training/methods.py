"""What a run trains: parts of the model, their rates, their methods. They are asked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from engine import adapters, tensorfile
from engine.adapters.base import Method
from engine.config.schema import Config
from engine.models.base_model import Base
from engine.vram.trained import method_settings, naming_weights, part_rates, weights_file

_NAMES = {"unet": "the U-Net", "text_encoder": "the text encoder", "text_encoder_2": "the second text encoder"}


@dataclass(frozen=True)
class Chosen:
    """What the settings ask to be trained. The methods stand over outlines of the networks: names and shapes, no weight."""

    rates: Mapping[str, float]  # of the parts that are trained, at the schedule's peak
    methods: tuple[Method, ...]

    @property
    def trains(self) -> frozenset[str]:
        """The parts that some method trains."""
        return frozenset(part for method in self.methods for part in method.trains)


def chosen(config: Config, base: Base) -> tuple[Chosen, list[str]]:
    """What is trained, with what should be said of the choice. No weight of the base model is read.

    Raises UserError where nothing would be trained, and for a file to continue from that does not fit.
    """
    rates, told = part_rates(config, base.family.text_parts)
    made = make(config, base, {part: base.outline(part) for part in rates}, rates)
    trained = frozenset(part for method in made for part in method.trains)
    told += [f"{_NAMES[part]} is not trained: no layer of it is among those that are chosen" for part in rates if part not in trained]
    told += [notice for method in made for notice in method.notices]
    return Chosen({part: rate for part, rate in rates.items() if part in trained}, made), told


def make(config: Config, base: Base, modules: Mapping[str, nn.Module], rates: Mapping[str, float]) -> tuple[Method, ...]:
    """The methods of a run over the networks of the parts that have a rate, continuing from a file where the settings name one."""
    sites = [site for part in rates for site in base.family.sites(part, modules[part])]
    with naming_weights(config):
        file = weights_file(config)
        settings = method_settings(config, rates, tensorfile.read(file) if file else None)
        return (adapters.make(adapters.row(config.network.network_module), sites, settings),)
