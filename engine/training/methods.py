"""What a run trains: parts of the model, their rates, their methods. They are asked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine import adapters, files, tensorfile
from engine.adapters.base import Method, MethodSettings
from engine.config.schema import Config
from engine.errors import UserError
from engine.models.base_model import Base

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
    rates, told = part_rates(config, base)
    made = make(config, base, {part: base.outline(part) for part in rates}, rates)
    trained = frozenset(part for method in made for part in method.trains)
    told += [f"{_NAMES[part]} is not trained: no layer of it is among those that are chosen" for part in rates if part not in trained]
    told += [notice for method in made for notice in method.notices]
    return Chosen({part: rate for part, rate in rates.items() if part in trained}, made), told


def part_rates(config: Config, base: Base) -> tuple[dict[str, float], list[str]]:
    """The learning rate of each part that gets adapters, with what should be said. A rate of 0 leaves its part out."""
    network, optimizer = config.network, config.optimizer
    unet = optimizer.learning_rate if optimizer.unet_lr is None else optimizer.unet_lr
    text = optimizer.learning_rate if optimizer.text_encoder_lr is None else optimizer.text_encoder_lr
    rates: dict[str, float] = {}
    told: list[str] = []
    if not network.network_train_text_encoder_only:
        if unet > 0:
            rates["unet"] = unet
        else:
            told.append("the U-Net is not trained: its learning rate is 0")
    if not network.network_train_unet_only:
        if text > 0:
            rates |= dict.fromkeys(base.family.text_parts, text)
        else:
            told.append("the text encoder is not trained: its learning rate is 0")
    if not rates:
        raise UserError("nothing would be trained: the learning rates are 0", "set unet_lr or text_encoder_lr", where="learning_rate")
    return rates, told


def make(config: Config, base: Base, modules: Mapping[str, nn.Module], rates: Mapping[str, float]) -> tuple[Method, ...]:
    """The methods of a run over the networks of the parts that have a rate, continuing from a file where the settings name one."""
    network = config.network
    row = adapters.row(network.network_module)
    sites = [site for part in rates for site in base.family.sites(part, modules[part])]
    try:
        settings = MethodSettings(
            dim=network.network_dim,
            alpha=network.network_alpha,
            dropout=network.network_dropout,
            options=row.options(**network.network_args),
            seed=config.training.seed,
            scale_weight_norms=network.scale_weight_norms,
            weights=tensorfile.read(_existing(network.network_weights)) if network.network_weights else None,
            dim_from_weights=network.dim_from_weights,
            rates=rates,
        )
        method = adapters.make(row, sites, settings)
    except UserError as error:
        if not network.network_weights or error.where not in ("", "network_weights"):
            raise
        raise UserError(error.message, error.hint, where=f"network_weights = {network.network_weights}") from error
    return (method,)


def _existing(path: str) -> Path:
    found = Path(path)
    if not files.is_there(found) or found.is_dir():
        raise UserError("there is no such file", "give the LoRA file to continue from")
    return found
