"""What is counted of a run without torch is what a run really has: networks as loaded, methods as built, states as kept."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from models_fakes import FULL
from torch import Tensor, nn

from engine import models, tensorfile
from engine.config.schema import Config, ModelConfig, NetworkConfig, OptimizerConfig
from engine.errors import UserError
from engine.models import networks
from engine.models.base_model import Base, open_base
from engine.models.layouts import layout_of
from engine.optimization.optimizers import find_optimizer
from engine.training import methods
from engine.training.optim import make_optimizer
from engine.vram.exact import Memory, Model, exact, model_of, network, outlined

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PRODIGY = [("Prodigy", False), ("Prodigy", True)]  # what it keeps depends on the values that the parameters begin with
FAMILIES = pytest.mark.parametrize("family", list(FULL))


@pytest.fixture(scope="module")
def bases(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    """The micro models, recognised."""
    cache = tmp_path_factory.mktemp("cache")
    return {base.family.name: base for base in (open_base(str(path), cache)[0] for path in (root / "models/micro").glob("*.safetensors"))}


def of(tensors: Iterable[Tensor]) -> Memory:
    """What these tensors take; each is counted by its storage, once."""
    return Memory.of({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def held(modules: Iterable[nn.Module]) -> Memory:
    return of(tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))


def config_of(base: Base, **sections: Any) -> Config:
    return Config(ModelConfig(pretrained_model_name_or_path=str(base.path)), **sections)


@FAMILIES
@pytest.mark.parametrize("precision", list(DTYPES))
def test_networks_are_those_that_are_loaded(family: str, precision: str, bases: dict[str, Base]) -> None:
    """The VAE in the format that its family can, and in halves; with `no_half_vae` in float32."""
    base = bases[family]
    config = config_of(base)
    found = exact(config, model_of(config), precision)
    dtypes = dict.fromkeys(base.family.parts, DTYPES[precision]) | {"vae": base.family.vae_dtype(DTYPES[precision])}
    loaded = {part: base.load(part, dtype, "cpu") for part, dtype in dtypes.items()}
    assert {part: held([module]) for part, module in loaded.items()} == found.networks
    vae: Any = loaded["vae"]
    assert (held([vae.encoder, vae.quant_conv]), held([vae.decoder, vae.post_quant_conv])) == (found.vae_encoder, found.vae_decoder)
    assert found.vae_encoder + found.vae_decoder == found.networks["vae"]
    config = Config(ModelConfig(pretrained_model_name_or_path=str(base.path), no_half_vae=True))
    whole = exact(config, model_of(config), precision).networks["vae"]
    assert whole == held([base.load("vae", base.family.vae_dtype(DTYPES[precision], True), "cpu")])


@FAMILIES
def test_networks_of_full_size(family: str) -> None:
    """Names and shapes alone."""
    found = exact(Config(), Model(layout_of(family), FULL[family]), "bf16").networks
    for part, spec in FULL[family].items():
        built = networks.build(spec).to(torch.bfloat16)
        sizes = [tensor.nbytes for tensor in (*built.parameters(), *built.buffers())]
        assert found[part] == Memory.of(sizes) == network(spec, "bf16")


SWITCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"network_train_unet_only": True}, {}),
    ({"network_train_text_encoder_only": True}, {}),
    ({}, {"unet_lr": 0.0}),
    ({}, {"text_encoder_lr": 0.0}),
    ({}, {"learning_rate": 0.0, "unet_lr": 1e-4}),
    ({"network_module": "lycoris.kohya", "network_args": {"preset": "unet-only"}}, {}),
    ({"network_module": "networks.loha", "network_args": {"conv_dim": 3}, "network_dim": 7}, {}),
]


@FAMILIES
@pytest.mark.parametrize(("switches", "rates"), SWITCHES)
def test_the_trained_parts_are_those_of_the_run(
    family: str, switches: dict[str, Any], rates: dict[str, float], bases: dict[str, Base]
) -> None:
    base = bases[family]
    config = config_of(base, network=NetworkConfig(**switches), optimizer=OptimizerConfig(**rates))
    chosen, _ = methods.chosen(config, base)
    shapes = [tuple(param.shape) for method in chosen.methods for group in method.parameter_groups() for param in group.params]
    model = model_of(config)
    found = exact(config, model, "no")
    assert found.trained.keys() == chosen.trains == chosen.rates.keys()
    assert Counter(each.shape for each in outlined(config, model).parameters) == Counter(shapes)
    by_part = {part: [each for each in outlined(config, model).parameters if each.part == part] for part in found.trained}
    assert {part: memory.tensors for part, memory in found.trained.items()} == {part: len(each) for part, each in by_part.items()}
    assert found.parameters.bytes == sum(torch.Size(shape).numel() * 4 for shape in shapes)


def test_rates_of_0_throughout_are_refused() -> None:
    config = Config(ModelConfig(family="sd1"), optimizer=OptimizerConfig(learning_rate=0.0))
    with pytest.raises(UserError, match="nothing would be trained: the learning rates are 0"):
        exact(config, model_of(config), "no")


@pytest.fixture(scope="module")
def loaded(bases: dict[str, Base]) -> dict[str, nn.Module]:
    """The networks of the micro model that a run trains."""
    return {part: bases["sd1"].load(part, torch.float32, "cpu") for part in ("unet", "text_encoder")}


@pytest.mark.parametrize(("optimizer", "continued"), [("AdamW", False), ("Lion", False), ("Adafactor", False), *PRODIGY])
def test_a_step_leaves_what_was_counted(
    optimizer: str, continued: bool, bases: dict[str, Base], loaded: dict[str, nn.Module], tmp_path: Path
) -> None:
    """Parameters, gradients and state of a real method on the micro model; begun anew, and continued from a file that chooses ranks."""
    base = bases["sd1"]
    row = find_optimizer(optimizer)
    rate = row.recommended_rate or 1e-3
    config = config_of(base, optimizer=OptimizerConfig(optimizer_type=optimizer, learning_rate=rate))
    if continued:
        narrow = dataclasses.replace(config, network=NetworkConfig(network_dim=3))
        (before,) = methods.make(narrow, base, loaded, dict.fromkeys(loaded, rate))
        file = {name: torch.rand_like(tensor) for name, tensor in before.tensors(torch.float32).items()}  # type: ignore[attr-defined]
        tensorfile.write(tmp_path / "a.safetensors", file)
        from_file = NetworkConfig(network_weights=str(tmp_path / "a.safetensors"), dim_from_weights=True)
        config = dataclasses.replace(config, network=from_file)
    groups = methods.make(config, base, loaded, dict.fromkeys(loaded, rate))[0].parameter_groups()
    made = make_optimizer(row, groups, {})
    params = [param for group in groups for param in group.params]
    for param in params:
        param.grad = torch.ones_like(param)
    made.step()
    found = exact(config, model_of(config), "no")
    assert {group.name: of(group.params) for group in groups} == found.trained
    assert of(param.grad for param in params if param.grad is not None) == found.gradients
    assert of(value for state in made.state.values() for value in state.values() if isinstance(value, Tensor)) == found.optimizer


def test_the_model_is_the_one_that_the_settings_name(bases: dict[str, Base], root: Path) -> None:
    for family, base in bases.items():
        specs = {part: source.spec for part, source in base.checkpoint.networks.items()}
        assert model_of(config_of(base)) == Model(layout_of(family), specs)
        assert model_of(Config(ModelConfig(family=family))) == Model(layout_of(family), FULL[family])
        own = model_of(Config(ModelConfig(family=family, vae=str(base.path))))
        assert own == Model(layout_of(family), {**FULL[family], "vae": specs["vae"]})
    with pytest.raises(UserError, match="neither a base model nor a family is named"):
        model_of(Config())


def test_every_family_has_a_usual_model() -> None:
    assert [row.name for row in models.FAMILIES] == list(FULL)
    assert all(set(FULL[row.name]) == set(models.get(row.name).parts) for row in models.FAMILIES)


def test_blocks_are_rounded_up() -> None:
    assert Memory.of([1, 512, 513]) == Memory(3, 1026, 2048)
    assert Memory.of([1]) + Memory.of([2]) == Memory.of([1, 2])
    assert Memory.of([]) == Memory()


def test_a_file_that_cannot_be_continued_is_named(bases: dict[str, Base], tmp_path: Path) -> None:
    tensorfile.write(tmp_path / "other.safetensors", {"x": torch.tensor([7.0])})
    for name, told in (("none", "there is no such file"), ("other.safetensors", "this is not a LoRA file")):
        path = str(tmp_path / name)
        config = config_of(bases["sd1"], network=NetworkConfig(network_weights=path, dim_from_weights=True))
        with pytest.raises(UserError, match=told) as caught:
            exact(config, model_of(config), "no")
        assert caught.value.where == f"network_weights = {path}"
