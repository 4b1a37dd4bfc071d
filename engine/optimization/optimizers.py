"""The table of optimizers: names, options and their ranges.

One more is a dataclass of its options, a function of `states` and a row of `OPTIMIZERS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from engine.errors import find_row
from engine.optimization import states
from engine.optimization.states import State


def option(default: Any, help: str) -> Any:
    """A dataclass field with its one line of help. Any, as `dataclasses.field` itself: the annotation beside it holds the type."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class AdamWArgs:
    """Decoupled weight decay regularization (arXiv 1711.05101)."""

    betas: tuple[float, float] = option((0.9, 0.999), "decay of the running mean and of the running square of the gradient")
    eps: float = option(1e-8, "added to the denominator")
    weight_decay: float = option(0.01, "decoupled weight decay, as a share of the learning rate")


@dataclass(frozen=True)
class LionArgs:
    """Symbolic discovery of optimization algorithms (arXiv 2302.06675)."""

    betas: tuple[float, float] = option((0.9, 0.99), "interpolation of the update and decay of the momentum")
    weight_decay: float = option(0.0, "decoupled weight decay, as a share of the learning rate")


@dataclass(frozen=True)
class AdafactorArgs:
    """Adafactor (arXiv 1804.04235)."""

    relative_step: bool = option(True, "let Adafactor choose the rate by itself; learning rates and schedule are then not used")
    scale_parameter: bool = option(True, "scale the rate by the size of the parameters")
    warmup_init: bool = option(False, "start the relative step small; needs relative_step")
    clip_threshold: float = option(1.0, "limit of the root mean square of an update")
    decay_rate: float = option(-0.8, "exponent of the decay of the running square")
    beta1: float | None = option(None, "decay of the running mean; none keeps no mean")
    eps: tuple[float, float] = option((1e-30, 1e-3), "regularisation of the square and of the parameter scale")
    weight_decay: float = option(0.0, "weight decay")


@dataclass(frozen=True)
class ProdigyArgs:
    """Prodigy, which estimates the learning rate (arXiv 2306.06101)."""

    betas: tuple[float, float] = option((0.9, 0.999), "decay of the running mean and square of the gradient")
    beta3: float | None = option(None, "decay of the estimate of the rate; none means the root of the second beta")
    eps: float = option(1e-8, "added to the denominator")
    weight_decay: float = option(0.0, "weight decay")
    decouple: bool = option(True, "decoupled weight decay, as in AdamW")
    use_bias_correction: bool = option(False, "Adam's bias correction")
    safeguard_warmup: bool = option(False, "ignore the warm-up's small rates in the estimate")
    d0: float = option(1e-6, "first estimate of the rate")
    d_coef: float = option(1.0, "factor on the estimated rate")
    growth_rate: float = option(math.inf, "limit on the estimate's growth a step")


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer: where its class is, what it may be given, what it needs, how it treats the learning rate."""

    name: str
    target: str  # "module:Class", imported when it is used
    help: str
    options: type
    state: State  # what it keeps on the device
    package: str = ""  # the package to install when it is optional
    gpu_only: bool = False
    recommended_rate: float | None = None  # what `learning_rate` should be, for one that estimates its own rate


OPTIMIZERS: tuple[OptimizerRow, ...] = (
    OptimizerRow("AdamW", "torch.optim:AdamW", "the usual choice; 8 bytes of state a parameter", AdamWArgs, states.adamw),
    OptimizerRow(
        "AdamW8bit",
        "bitsandbytes.optim:AdamW8bit",
        "AdamW with 2 bytes of state a parameter",
        AdamWArgs,
        states.adamw_8bit,
        "bitsandbytes",
        gpu_only=True,
    ),
    OptimizerRow("Lion", "lion_pytorch:Lion", "sign of the momentum; use a third to a tenth of AdamW's rate", LionArgs, states.lion),
    OptimizerRow(
        "Adafactor",
        "transformers.optimization:Adafactor",
        "factored state: almost no memory",
        AdafactorArgs,
        lambda trained, args: states.adafactor(trained, args.beta1),
    ),
    OptimizerRow(
        "Prodigy",
        "prodigyopt:Prodigy",
        "estimates its rate; set learning_rate to 1",
        ProdigyArgs,
        lambda trained, args: states.prodigy(trained, args.betas[0]),
        recommended_rate=1.0,
    ),
)


def find_optimizer(name: str) -> OptimizerRow:
    """The row of an optimizer, by any capitalisation. Raises UserError with the nearest name."""
    return find_row(OPTIMIZERS, name, "optimizer", "optimizer_type")
