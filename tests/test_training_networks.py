"""Which parts of a model are trained and at which rates, and that every setting reaches the method and the networks under its own name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from training_fakes import FixedMethod, groups_of

from engine import adapters, models, tensorfile
from engine.adapters import LoraArgs
from engine.config.schema import Config, NetworkConfig, OptimizerConfig, TrainingConfig
from engine.device import Compute
from engine.errors import UserError
from engine.models.base import Base
from engine.models.family import Site
from engine.training import networks
from engine.training.networks import assemble, rate_groups, rate_of, require_fitting, trained_parts

CPU = Compute(torch.device("cpu"), "bf16", "the CPU", 0, 1)
UNTRAINED_UNET = "the U-Net is not trained: its learning rate is 0"
UNTRAINED_TEXT = "the text encoder is not trained: its learning rate is 0"


def base_of(family: str) -> Base:
    """A base model of which only the family is known."""
    return cast(Base, SimpleNamespace(family=models.get(family)))


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


@pytest.mark.parametrize(("plain", "unet", "text", "of_unet", "of_text"), RATES)
def test_the_rate_of_each_part(plain: float, unet: float | None, text: float | None, of_unet: float, of_text: float) -> None:
    """A rate that is left out is learning_rate; a rate of 0 is a rate."""
    settings = OptimizerConfig(learning_rate=plain, unet_lr=unet, text_encoder_lr=text)
    assert (rate_of(settings, "unet_lr"), rate_of(settings, "text_encoder_lr")) == (of_unet, of_text)


def test_groups_get_the_rate_that_their_key_names_times_their_scale() -> None:
    groups = groups_of({"unet": ("unet_lr", 1.0), "unet up": ("unet_lr", 16.0), "text_encoder": ("text_encoder_lr", 1.0),
                        "text_encoder up": ("text_encoder_lr", 4.0)})  # fmt: skip
    made = rate_groups(FixedMethod(groups=groups), OptimizerConfig(learning_rate=1.0, unet_lr=0.25, text_encoder_lr=0.5))
    told = [("unet", 0.25), ("unet up", 4.0), ("text_encoder", 0.5), ("text_encoder up", 2.0)]
    assert [(group.name, group.rate) for group in made] == told
    assert all(mine.params == list(theirs.params) for mine, theirs in zip(made, groups, strict=True))
    made = rate_groups(FixedMethod(groups=groups), OptimizerConfig(learning_rate=3.0))
    assert [group.rate for group in made] == [3.0, 48.0, 3.0, 12.0]


TEXT_OF = {"sd1": ("text_encoder",), "sdxl": ("text_encoder", "text_encoder_2")}
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
    expected = ("unet",) * has_unet + TEXT_OF[family] * has_text
    assert trained_parts(config, base_of(family)) == (expected, said)


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
        trained_parts(config, base_of("sd1"))
    assert (caught.value.where, caught.value.hint) == ("learning_rate", "set unet_lr or text_encoder_lr")


class Network(nn.Module):
    """A network that keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []
        self.training = False

    def enable_xformers_memory_efficient_attention(self) -> None:
        self.told.append("xformers")

    def enable_gradient_checkpointing(self) -> None:
        self.told.append("checkpointing")

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, object]) -> None:
        self.told.append(gradient_checkpointing_kwargs)


class Seen(SimpleNamespace):
    """What was loaded, what `make` was told, and what it made."""

    loaded: list[object]
    told: dict[str, Any]
    unet: Network
    method: FixedMethod


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """`adapters.make` keeps its arguments; a base model hands out `seen.unet`; the sites of a part are its name."""
    seen = Seen(loaded=[], told={}, unet=Network(), method=FixedMethod())

    def make(row: object, sites: list[object], **told: object) -> FixedMethod:
        seen.told = {"row": row, "sites": sites, **told}
        return seen.method

    def load(*wanted: object) -> Network:
        seen.loaded.append(wanted)
        return seen.unet

    monkeypatch.setattr(adapters, "make", make)
    family = SimpleNamespace(sites=lambda part, network: [(part, network)])
    seen.base = SimpleNamespace(family=family, load=load, outline=lambda part: f"outline of {part}")
    yield seen


def test_every_setting_reaches_the_method(seen: Seen, tmp_path: Path) -> None:
    file = tmp_path / "前 一.safetensors"
    tensorfile.write(file, {"x": torch.tensor([7.0])})
    network = NetworkConfig(
        network_dim=24, network_alpha=6.0, network_dropout=0.125, network_args={"conv_dim": 3, "rank_dropout": 0.5},
        scale_weight_norms=0.75, network_weights=str(file), dim_from_weights=True,
    )  # fmt: skip
    encoders = {"text_encoder": Network(), "text_encoder_2": Network()}
    config = Config(network=network, training=TrainingConfig(seed=77))
    made = assemble(config, seen.base, CPU, encoders, ("unet", "text_encoder_2"))
    weights = seen.told.pop("weights")
    assert {name: tensor.tolist() for name, tensor in weights.items()} == {"x": [7.0]}
    assert seen.told == {
        "row": adapters.METHODS[0],
        "sites": [("unet", seen.unet), ("text_encoder_2", encoders["text_encoder_2"])],
        "dim": 24,
        "alpha": 6.0,
        "dropout": 0.125,
        "options": LoraArgs(conv_dim=3, rank_dropout=0.5),
        "seed": 77,
        "scale_weight_norms": 0.75,
        "dim_from_weights": True,
    }
    assert seen.loaded == [("unet", torch.bfloat16, torch.device("cpu"))]
    assert (made.unet, made.encoders, made.method) == (seen.unet, encoders, seen.method)
    assert seen.method.told == ["attach", "train True"]


def test_without_a_file_nothing_is_continued(seen: Seen) -> None:
    assemble(Config(), seen.base, CPU, {}, ("unet",))
    assert seen.told["weights"] is None and seen.told["dim_from_weights"] is False
    assert (seen.told["dim"], seen.told["alpha"], seen.told["options"], seen.told["seed"]) == (32, 16.0, LoraArgs(), 42)


@pytest.mark.parametrize(
    ("training", "of_unet", "of_encoder"),
    [
        (TrainingConfig(), [], []),
        (TrainingConfig(gradient_checkpointing=True), ["checkpointing"], [{"use_reentrant": False}]),
        (TrainingConfig(xformers=True), ["xformers"], []),
    ],
)
def test_what_the_networks_are_asked_for(seen: Seen, training: TrainingConfig, of_unet: list[object], of_encoder: list[object]) -> None:
    encoder = Network()
    assemble(Config(training=training), seen.base, CPU, {"text_encoder": encoder}, ("unet",))
    assert (seen.unet.told, encoder.told) == (of_unet, of_encoder)
    assert (seen.unet.training, encoder.training) == (False, training.gradient_checkpointing)


def test_a_file_is_tried_on_outlines_before_anything_is_loaded(seen: Seen, tmp_path: Path) -> None:
    require_fitting(Config(), seen.base, CPU, ("unet",))
    assert seen.told == {}
    tensorfile.write(tmp_path / "a.safetensors", {"x": torch.tensor([7.0])})
    config = Config(network=NetworkConfig(network_weights=str(tmp_path / "a.safetensors")))
    require_fitting(config, seen.base, CPU, ("unet", "text_encoder"))
    assert seen.told["sites"] == [("unet", "outline of unet"), ("text_encoder", "outline of text_encoder")]
    assert seen.loaded == []


def test_a_file_that_cannot_be_continued_is_named(tmp_path: Path) -> None:
    """Missing, a folder, no LoRA; each before a weight of the base model is read."""
    site = Site("lora_unet_x", nn.Linear(3, 4), "unet", "linear", True)
    base = cast(Base, SimpleNamespace(family=SimpleNamespace(sites=lambda part, network: [site]), outline=lambda part: None))
    tensorfile.write(tmp_path / "other.safetensors", {"x": torch.tensor([7.0])})
    for name, told in (("none", "there is no such file"), (".", "there is no such file"), ("other.safetensors", "this is not a LoRA file")):
        path = str(tmp_path / name)
        with pytest.raises(UserError, match=told) as caught:
            require_fitting(Config(network=NetworkConfig(network_weights=path)), base, CPU, ("unet",))
        assert caught.value.where == f"network_weights = {path}" and caught.value.hint


def test_an_error_of_the_settings_is_not_blamed_on_a_file(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*anything: object, **told: object) -> None:
        raise UserError("a rank of 0", "set another", where="network_dim")

    monkeypatch.setattr(adapters, "make", make)
    with pytest.raises(UserError) as caught:
        assemble(Config(), seen.base, CPU, {}, ("unet",))
    assert caught.value.where == "network_dim"


def test_xformers_is_refused_where_it_cannot_be_used(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(training=TrainingConfig(xformers=True))
    with pytest.raises(UserError, match="xformers needs an NVIDIA card; this run is on the CPU") as caught:
        require_fitting(config, seen.base, CPU, ("unet",))
    assert caught.value.where == "xformers"

    def broken(name: str) -> None:
        raise OSError("undefined symbol")

    monkeypatch.setattr(networks, "importlib", SimpleNamespace(import_module=broken))
    card = Compute(torch.device("cuda"), "bf16", "a card", 0, 1)
    with pytest.raises(UserError, match=r"xformers cannot be used here \(undefined symbol\)") as caught:
        require_fitting(config, seen.base, card, ("unet",))
    assert caught.value.where == "xformers" and "leave `xformers` out" in caught.value.hint
