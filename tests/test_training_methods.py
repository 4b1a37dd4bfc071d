"""What is trained, and that every setting reaches the method under its own name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from training_fakes import FixedMethod

from engine import adapters, tensorfile
from engine.adapters import DeltaArgs
from engine.adapters.base import MethodSettings
from engine.config.schema import Config, NetworkConfig, OptimizerConfig, TrainingConfig
from engine.errors import UserError
from engine.models.base_model import Base
from engine.models.family import Site
from engine.training import methods
from engine.training.methods import Chosen, chosen


class Seen(SimpleNamespace):
    """What `make` was told, and what it made."""

    row: object
    sites: list[object]
    settings: MethodSettings
    method: FixedMethod


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """`adapters.make` keeps its arguments; the sites of a part are its name and its network."""
    seen = Seen(method=FixedMethod())

    def make(row: object, sites: list[object], settings: MethodSettings) -> FixedMethod:
        seen.row, seen.sites, seen.settings = row, sites, settings
        return seen.method

    monkeypatch.setattr(adapters, "make", make)
    family = SimpleNamespace(sites=lambda part, network: [(part, network)], text_parts=("text_encoder",))
    seen.base = SimpleNamespace(family=family, outline=lambda part: f"outline of {part}")
    return seen


def test_every_setting_reaches_the_method(seen: Seen, tmp_path: Path) -> None:
    file = tmp_path / "前 一.safetensors"
    tensorfile.write(file, {"x": torch.tensor([7.0])})
    network = NetworkConfig(
        network_dim=24, network_alpha=6.0, network_dropout=0.125, network_args={"conv_dim": 3, "rank_dropout": 0.5},
        scale_weight_norms=0.75, network_weights=str(file), dim_from_weights=True,
    )  # fmt: skip
    modules = cast(Any, {"unet": "U", "text_encoder": "1", "text_encoder_2": "2"})
    rates = {"unet": 2e-4, "text_encoder_2": 5e-5}
    made = methods.make(Config(network=network, training=TrainingConfig(seed=77)), seen.base, modules, rates)
    weights = seen.settings.weights
    assert weights is not None and {name: tensor.tolist() for name, tensor in weights.items()} == {"x": [7.0]}
    assert (seen.row, seen.sites) == (adapters.METHODS[0], [("unet", "U"), ("text_encoder_2", "2")])
    options = DeltaArgs(conv_dim=3, rank_dropout=0.5)
    assert seen.settings == MethodSettings(24, 6.0, 0.125, options, 77, 0.75, weights, True, rates)
    assert made == (seen.method,)


def test_without_a_file_nothing_is_continued(seen: Seen) -> None:
    methods.make(Config(), seen.base, cast(Any, {"unet": "U"}), {"unet": 1.0})
    assert seen.settings == MethodSettings(32, 16.0, None, DeltaArgs(), 42, rates={"unet": 1.0})


def test_what_is_chosen_stands_over_outlines(seen: Seen) -> None:
    """So that it is refused before a weight is read."""
    found, told = chosen(Config(optimizer=OptimizerConfig(unet_lr=3e-4, text_encoder_lr=2e-5)), seen.base)
    assert (found, told) == (Chosen({"unet": 3e-4, "text_encoder": 2e-5}, (seen.method,)), [])
    assert seen.sites == [("unet", "outline of unet"), ("text_encoder", "outline of text_encoder")]
    assert Chosen({}, cast(Any, (SimpleNamespace(trains={"unet"}), SimpleNamespace(trains={"text_encoder", "unet"})))).trains == {
        "unet", "text_encoder",
    }  # fmt: skip


def test_a_part_that_gets_no_adapter_is_not_trained_and_that_is_told(seen: Seen) -> None:
    seen.method.trains = frozenset(("unet",))
    found, told = chosen(Config(), seen.base)
    assert (set(found.rates), found.trains) == ({"unet"}, {"unet"})
    assert told == ["the text encoder is not trained: no layer of it is among those that are chosen"]


def test_a_file_that_cannot_be_continued_is_named(tmp_path: Path) -> None:
    """Missing, a folder, no LoRA; each before a weight of the base model is read."""
    site = Site("lora_unet_x", "unet", "linear", "attention", (4, 3), "x", nn.Linear(3, 4))
    family = SimpleNamespace(sites=lambda part, network: [site], text_parts=())
    base = cast(Base, SimpleNamespace(family=family, outline=lambda part: None))
    tensorfile.write(tmp_path / "other.safetensors", {"x": torch.tensor([7.0])})
    for name, told in (("none", "there is no such file"), (".", "there is no such file"), ("other.safetensors", "this is not a LoRA file")):
        path = str(tmp_path / name)
        with pytest.raises(UserError, match=told) as caught:
            chosen(Config(network=NetworkConfig(network_weights=path)), base)
        assert caught.value.where == f"network_weights = {path}" and caught.value.hint


def test_an_error_of_the_settings_is_not_blamed_on_a_file(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*anything: object) -> None:
        raise UserError("a rank of 0", "set another", where="network_dim")

    monkeypatch.setattr(adapters, "make", make)
    with pytest.raises(UserError) as caught:
        chosen(Config(), seen.base)
    assert caught.value.where == "network_dim"


def test_nor_is_one_without_a_place(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*anything: object) -> None:
        raise UserError("no layer of this run takes LoRA", "train the U-Net")

    monkeypatch.setattr(adapters, "make", make)
    with pytest.raises(UserError) as caught:
        chosen(Config(), seen.base)
    assert caught.value.where == ""


def test_nor_where_there_is_a_file(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*anything: object) -> None:
        raise UserError("a rank of 0", "set another", where="network_dim")

    monkeypatch.setattr(adapters, "make", make)
    tensorfile.write(tmp_path / "a.safetensors", {"x": torch.tensor([7.0])})
    with pytest.raises(UserError) as caught:
        chosen(Config(network=NetworkConfig(network_weights=str(tmp_path / "a.safetensors"))), seen.base)
    assert caught.value.where == "network_dim"


def test_what_a_method_says_of_its_settings_is_told(seen: Seen) -> None:
    seen.method.notices = ("x has no effect",)
    assert chosen(Config(), seen.base)[1] == ["x has no effect"]
