"""Which parts of a model are trained and at which rates."""

from __future__ import annotations

import pytest

from engine.config.schema import Config, NetworkConfig, OptimizerConfig
from engine.errors import UserError
from engine.models.layouts import layout_of
from engine.vram.trained import part_rates

UNTRAINED_UNET = "the U-Net is not trained: its learning rate is 0"
UNTRAINED_TEXT = "the text encoder is not trained: its learning rate is 0"


TEXT_OF = {"sd1": ("text_encoder",), "sdxl": ("text_encoder", "text_encoder_2")}

# learning_rate, unet_lr, text_encoder_lr -> the U-Net's rate, the text encoders'
RATES = [
    (1e-4, None, None, 1e-4, 1e-4),
    (1e-4, 2e-4, None, 2e-4, 1e-4),
    (1e-4, None, 5e-5, 1e-4, 5e-5),
    (1e-4, 2e-4, 5e-5, 2e-4, 5e-5),
    (1e-4, 0.0, None, 0.0, 1e-4),
    (1e-4, None, 0.0, 1e-4, 0.0),
    (0.0, 3e-4, None, 3e-4, 0.0),
    (0.0, None, 3e-4, 0.0, 3e-4),
]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize(("plain", "unet", "text", "of_unet", "of_text"), RATES)
def test_the_rate_of_each_part(
    family: str, plain: float, unet: float | None, text: float | None, of_unet: float, of_text: float
) -> None:
    """A rate that is left out is learning_rate; a rate of 0 leaves its part out."""
    config = Config(optimizer=OptimizerConfig(learning_rate=plain, unet_lr=unet, text_encoder_lr=text))
    expected = {"unet": of_unet, **dict.fromkeys(TEXT_OF[family], of_text)}
    assert part_rates(config, layout_of(family).text_parts)[0] == {part: rate for part, rate in expected.items() if rate}


UNET_ONLY, TEXT_ONLY = {"network_train_unet_only": True}, {"network_train_text_encoder_only": True}

# switches, unet_lr, text_encoder_lr -> is the U-Net trained, are the text encoders, what is said
PARTS: list[tuple[dict[str, bool], float | None, float | None, bool, bool, list[str]]] = [
    ({}, None, None, True, True, []),
    ({}, 1e-4, 5e-5, True, True, []),
    ({}, 0.0, None, False, True, [UNTRAINED_UNET]),
    ({}, None, 0.0, True, False, [UNTRAINED_TEXT]),
    (UNET_ONLY, None, None, True, False, []),
    (UNET_ONLY, None, 0.0, True, False, []),  # what is not trained anyway needs no word
    (TEXT_ONLY, None, None, False, True, []),
    (TEXT_ONLY, 0.0, None, False, True, []),
]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize(("switches", "unet", "text", "has_unet", "has_text", "said"), PARTS)
def test_the_parts_that_are_trained(
    family: str, switches: dict[str, bool], unet: float | None, text: float | None, has_unet: bool, has_text: bool, said: list[str]
) -> None:
    config = Config(network=NetworkConfig(**switches), optimizer=OptimizerConfig(unet_lr=unet, text_encoder_lr=text))
    rates, told = part_rates(config, layout_of(family).text_parts)
    assert (tuple(rates), told) == (("unet",) * has_unet + TEXT_OF[family] * has_text, said)


@pytest.mark.parametrize(
    ("switches", "rates"),
    [
        ({}, {"learning_rate": 0.0}),
        ({}, {"unet_lr": 0.0, "text_encoder_lr": 0.0}),
        (UNET_ONLY, {"unet_lr": 0.0}),
        (UNET_ONLY, {"learning_rate": 0.0, "text_encoder_lr": 1.0}),
        (TEXT_ONLY, {"text_encoder_lr": 0.0}),
        (TEXT_ONLY, {"learning_rate": 0.0, "unet_lr": 1.0}),
    ],
)
def test_rates_of_0_throughout_are_refused(switches: dict[str, bool], rates: dict[str, float]) -> None:
    config = Config(network=NetworkConfig(**switches), optimizer=OptimizerConfig(**rates))
    with pytest.raises(UserError, match="nothing would be trained: the learning rates are 0") as caught:
        part_rates(config, ("text_encoder",))
    assert (caught.value.where, caught.value.hint) == ("learning_rate", "set unet_lr or text_encoder_lr")
