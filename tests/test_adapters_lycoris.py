"""`lycoris.kohya`: LyCORIS' presets, defaults and words."""

from __future__ import annotations

from typing import Any

import pytest
from adapters_fakes import settings
from models_fakes import FULL

from engine import adapters, models
from engine.adapters import LycorisArgs
from engine.adapters.lora import LoraLayer
from engine.adapters.method import LayerMethod
from engine.errors import UserError
from engine.models import networks
from engine.models.family import Site


@pytest.fixture(scope="module")
def sites() -> dict[str, list[Site]]:
    """Every site of every full-size part, on the meta device."""
    families = {name: models.get(name) for name in FULL}
    return {name: [site for part in of.parts for site in of.sites(part, networks.build(FULL[name][part]))] for name, of in families.items()}


def make(sites: list[Site], options: LycorisArgs, **rest: Any) -> LayerMethod:
    rest = {"rates": {"unet": 1.0, "text_encoder": 1.0, "text_encoder_2": 1.0}, **rest}
    method = adapters.make(adapters.row("lycoris.kohya"), sites, settings(options, **rest))
    assert isinstance(method, LayerMethod)
    return method


# Modules in the U-Net and in the text encoders. Those of `full` are LyCORIS' own numbers; it knows the ends by their names in diffusers'
# layout, so that SDXL's, which sd-scripts names otherwise, are left out.
COUNTS = {
    "sd1": {
        "full": (282, 72), "full-lin": (230, 72), "attn-mlp": (192, 72), "attn-only": (128, 48), "unet-only": (282, 0),
        "unet-transformer-only": (192, 0), "unet-convblock-only": (88, 0),
    },
    "sdxl": {
        "full": (788, 264), "full-lin": (750, 264), "attn-mlp": (722, 264), "attn-only": (560, 176), "unet-only": (788, 0),
        "unet-transformer-only": (722, 0), "unet-convblock-only": (66, 0),
    },
}  # fmt: skip


@pytest.mark.parametrize(("family", "preset"), [(family, preset) for family, presets in COUNTS.items() for preset in presets])
def test_presets(sites: dict[str, list[Site]], family: str, preset: Any) -> None:
    method = make(sites[family], LycorisArgs("lora", preset))
    unet = sum(layer.site.part == "unet" for layer in method.layers)
    assert (unet, len(method.layers) - unet) == COUNTS[family][preset]
    assert not any(layer.site.kind == "norm" for layer in method.layers)


def test_the_ends_are_those_of_lycoris(sites: dict[str, list[Site]]) -> None:
    chosen = {layer.site.name for layer in make(sites["sd1"], LycorisArgs("loha")).layers if layer.site.place == "end"}
    assert chosen == {f"lora_unet_{end}" for end in ("conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2")}
    assert not any(layer.site.place == "end" for layer in make(sites["sdxl"], LycorisArgs("loha")).layers)


@pytest.mark.parametrize(
    ("options", "alpha", "plain", "square"),
    [
        (LycorisArgs(), 2.0, (4, 2.0), (4, 2.0)),
        (LycorisArgs(conv_dim=0, conv_alpha=0), 2.0, (4, 2.0), (4, 2.0)),
        (LycorisArgs(conv_dim=3, conv_alpha=1), 2.0, (4, 2.0), (3, 1.0)),
        (LycorisArgs(conv_dim=3), None, (4, 4.0), (3, 3.0)),
    ],
)
def test_convolutions_have_the_rank_and_alpha_of_the_others(
    sites: dict[str, list[Site]], options: LycorisArgs, alpha: float | None, plain: tuple[int, float], square: tuple[int, float]
) -> None:
    found = {layer.site.kind: (layer.rank, layer.alpha) for layer in make(sites["sd1"], options, alpha=alpha).layers}
    assert found == {"linear": plain, "conv1x1": plain, "conv3x3": square}


def test_lora_and_locon_are_our_lora(sites: dict[str, list[Site]]) -> None:
    for algo in ("lora", "locon"):
        method = make(sites["sd1"], LycorisArgs(algo, dropout=0.1, rank_dropout=0.2, module_dropout=0.3))  # type: ignore[arg-type]
        assert all(type(layer) is LoraLayer for layer in method.layers)
        dropout = method.layers[0].dropout
        assert (dropout.network, dropout.rank, dropout.module) == (0.1, 0.2, 0.3)
        (notice,) = method.notices
        assert notice.startswith(f"algo = {algo} leaves out activations and ranks as networks.lora does")
    assert make(sites["sd1"], LycorisArgs("lora")).notices == ()


def test_what_has_no_effect_is_told(sites: dict[str, list[Site]]) -> None:
    method = make(sites["sd1"], LycorisArgs("loha", dropout=0.1, loraplus_lr_ratio=4))
    assert [notice.split(":")[0] for notice in method.notices] == [
        "dropout 0.1 of single activations has no effect",
        "LoRA+ has no effect",
    ]
    assert [group.name for group in method.parameter_groups()] == ["unet", "text_encoder"]


def test_a_negative_conv_dim_leaves_the_convolutions_out(sites: dict[str, list[Site]]) -> None:
    kinds = {layer.site.kind for layer in make(sites["sd1"], LycorisArgs(conv_dim=-1)).layers}
    assert kinds == {"linear", "conv1x1"}


def test_a_preset_without_a_layer_is_named(sites: dict[str, list[Site]]) -> None:
    text = [site for site in sites["sd1"] if site.part == "text_encoder"]
    with pytest.raises(UserError, match="the preset unet-only has no layer in the parts that this run trains") as caught:
        make(text, LycorisArgs(preset="unet-only"))
    assert caught.value.where == "network_args"


def test_its_dropout_is_named_as_it_is_written(sites: dict[str, list[Site]]) -> None:
    with pytest.raises(UserError) as caught:
        make(sites["sd1"], LycorisArgs(dropout=1.5))
    assert caught.value.where == "dropout"


@pytest.fixture
def theirs() -> Any:
    """LyCORIS' network class for sd-scripts, its global settings put back afterwards."""
    from lycoris.kohya import LycorisNetworkKohya

    names = [name for name in vars(LycorisNetworkKohya) if name.isupper()]
    kept = {name: getattr(LycorisNetworkKohya, name) for name in names}
    yield LycorisNetworkKohya
    for name, value in kept.items():
        setattr(LycorisNetworkKohya, name, value)


@pytest.mark.slow
@pytest.mark.parametrize("preset", [preset for preset in COUNTS["sd1"] if preset != "attn-only"])
def test_its_choice_is_that_of_lycoris_itself(
    theirs: Any, sites: dict[str, list[Site]], preset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the same networks. `attn-only` names a class of sd-scripts' own U-Net.

    Since 4.0 its lists name `TimestepEmbedding`, for another family; with it the preset full stops at a name that it chose twice.
    """
    from lycoris.config import PRESET
    from lycoris.kohya import create_network

    classes = [name for name in PRESET[preset]["unet_target_module"] if name != "TimestepEmbedding"]
    monkeypatch.setitem(PRESET[preset], "unet_target_module", classes)

    parts = {part: networks.build(FULL["sd1"][part]) for part in ("unet", "text_encoder")}
    made = create_network(1.0, 4, 1.0, None, parts["text_encoder"], parts["unet"], algo="loha", preset=preset, warn_on_unmatched=False)
    ours = make(sites["sd1"], LycorisArgs("loha", preset)).layers
    assert {module.lora_name for module in made.unet_loras} == {layer.site.name for layer in ours if layer.site.part == "unet"}
    assert len(made.text_encoder_loras) == sum(layer.site.part == "text_encoder" for layer in ours)
