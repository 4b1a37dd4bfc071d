"""What a run trains, by its settings alone: parts, rates, and its method.

Training builds its methods by this, and what they need in memory is counted by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine import adapters, files
from engine.adapters.base import MethodSettings
from engine.config.schema import Config
from engine.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def part_rates(config: Config, text_parts: Sequence[str]) -> tuple[dict[str, float], list[str]]:
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
            rates |= dict.fromkeys(text_parts, text)
        else:
            told.append("the text encoder is not trained: its learning rate is 0")
    if not rates:
        raise UserError("nothing would be trained: the learning rates are 0", "set unet_lr or text_encoder_lr", where="learning_rate")
    return rates, told


def method_settings(config: Config, rates: Mapping[str, float], weights: Mapping[str, Tensor] | None = None) -> MethodSettings:
    """What the method is built by; `weights` are the tensors of the file that `weights_file` names."""
    network = config.network
    return MethodSettings(
        dim=network.network_dim,
        alpha=network.network_alpha,
        dropout=network.network_dropout,
        options=adapters.row(network.network_module).options(**network.network_args),
        seed=config.training.seed,
        scale_weight_norms=network.scale_weight_norms,
        weights=weights,
        dim_from_weights=network.dim_from_weights,
        rates=rates,
    )


def weights_file(config: Config) -> Path | None:
    """The file that the run continues from, if any. Raises UserError where it is missing."""
    path = config.network.network_weights
    if not path:
        return None
    found = Path(path)
    if not files.is_there(found) or found.is_dir():
        raise UserError("there is no such file", "give the LoRA file to continue from")
    return found


@contextmanager
def naming_weights(config: Config) -> Iterator[None]:
    """Errors of the file that the run continues from name it."""
    try:
        yield
    except UserError as error:
        path = config.network.network_weights
        if not path or error.where not in ("", "network_weights"):
            raise
        raise UserError(error.message, error.hint, where=f"network_weights = {path}") from error
