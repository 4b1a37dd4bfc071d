"""What a run's memory is told as, before it starts."""

from __future__ import annotations

from engine.config.schema import Config
from engine.models.usual import USUAL
from engine.vram import less
from engine.vram.estimate import GIB, Forecast, predict
from engine.vram.exact import Model
from engine.vram.load import Pictures, asked

_LEAST = 0.05  # GB; what takes less is not named


def forecast(config: Config, model: Model, precision: str, sizes: Pictures) -> Forecast | None:
    """The memory of a run. None for a U-Net that is not its family's usual one, to which the coefficients are fitted.

    Raises UserError for what the settings cannot train.
    """
    family = model.layout.name
    if model.networks["unet"] != USUAL[family]["unet"]:
        return None
    return predict(asked(config, model, precision, sizes))


def parts(found: Forecast) -> str:
    """The largest phase and what it holds, the largest part first: `step: U-Net 1.6, gradients and activations 0.9`."""
    phase = found.largest
    sizes = sorted(((size / GIB, name) for name, size in found.phases[phase].items()), reverse=True)
    return f"{phase}: {', '.join(f'{name} {size:.1f}' for size, name in sizes if size >= _LEAST)}"


def needed(found: Forecast, card: tuple[str, int] | None, config: Config) -> list[str]:
    """Lines for someone who has not chosen his settings yet; `card` is the name and the bytes of his card, if there is one."""
    lines = [f"Memory: a card of about {found.needed / GIB:.1f} GB ({parts(found)}; with 0.6 for CUDA and 0.7 for the desktop)"]
    if card is not None and not found.fits(card[1]):
        lines.append(f"{card[0]} has {card[1] / GIB:.1f} GB: this may not fit. Where it does not, {less.for_steps(config, on_card=True)}")
    return lines
